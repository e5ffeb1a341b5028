/** Where clicks came from, by what, and why bots are bots. */

import type { Answer } from "../api/questions.ts";
import type { Dimension } from "../api/types.ts";
import { tabOf, type View, withTab } from "../state/view.ts";
import { dimensionTitle, valueName } from "../words/format.ts";
import { Bars } from "./bars.tsx";
import { Card, Choice, UNFILTERED } from "./card.tsx";

interface Props {
  view: View;
  answer: Answer;
  change: (view: View, kind?: "step" | "touch") => void;
}

interface Panel {
  id: string;
  title: string;
  dimensions: readonly [Dimension, ...Dimension[]];
}

const SOURCES: Panel[] = [
  { id: "referrers", title: "Referrers", dimensions: ["referrer", "referrer_class"] },
  { id: "technology", title: "Audience", dimensions: ["device", "browser", "os", "language"] },
  { id: "campaigns", title: "Campaigns", dimensions: ["utm_source", "utm_medium", "utm_campaign"] },
];
const KINDS: Panel[] = [
  { id: "triggers", title: "Link or QR code", dimensions: ["trigger"] },
  { id: "bots", title: "Bots by reason", dimensions: ["bot_reason"] },
];

/** What brought people here, and with what. */
export function Sources(props: Props) {
  return (
    <>
      {SOURCES.map(panel => (
        <PanelCard key={panel.id} panel={panel} {...props} />
      ))}
    </>
  );
}

/** Links against codes, and bots: short lists, one above the other. */
export function Kinds(props: Props) {
  return (
    <div class="stack">
      {KINDS.map(panel => (
        <PanelCard key={panel.id} panel={panel} {...props} />
      ))}
      {props.answer.suspected.total > 0 && <Suspected {...props} />}
    </div>
  );
}

/** Clicks that count as people's although something speaks against it. */
function Suspected({ view, answer: { suspected }, change }: Props) {
  const chosen = view.filter?.dimension === "bot_reason" ? view.filter.value : null;
  const choose = (value: string) =>
    change({ ...view, filter: value === chosen ? null : { dimension: "bot_reason", value }, traffic: "human" });
  return (
    <Card title="Suspected" id="suspected" note="Counted as people, although something speaks against it.">
      <Bars
        dimension="bot_reason"
        values={suspected.values}
        total={suspected.total}
        chosen={chosen}
        choose={choose}
        called={value => valueName("bot_reason", value.replace(/^suspected:/, ""))}
      />
    </Card>
  );
}

function PanelCard({ panel, view, answer, change }: Props & { panel: Panel }) {
  const dimension = tabOf(view, panel.dimensions);
  const breakdown = answer.breakdowns.get(dimension);
  const filter = view.filter;
  const chosen = filter?.dimension === dimension ? filter.value : null;
  const tools = panel.dimensions.length > 1 && (
    <Choice
      label={panel.title}
      all={panel.dimensions}
      chosen={dimension}
      name={dimensionTitle}
      choose={tab => change(withTab(view, panel.dimensions, tab), "touch")}
    />
  );
  // Choosing what is chosen takes it back.
  const choose = (value: string) => {
    const next = value === chosen ? null : { dimension, value };
    // People have no reason to be bots: there would be nothing to see of them.
    const traffic = next?.dimension === "bot_reason" && view.traffic === "human" ? "bot" : view.traffic;
    change({ ...view, filter: next, traffic });
  };
  return (
    <Card title={panel.title} id={panel.id} tools={tools} note={filter && chosen === null ? UNFILTERED : null}>
      <Bars
        dimension={dimension}
        values={breakdown?.values ?? []}
        total={breakdown?.total ?? 0}
        chosen={chosen}
        choose={choose}
        empty={dimension === "bot_reason" ? "No bots in this range." : "Nothing in this range."}
      />
    </Card>
  );
}
