/** Which clicks are looked at: when, whose, by which clock, compared with what. */

import { useState } from "preact/hooks";
import type { Traffic } from "../api/types.ts";
import { COMPARISONS, type Comparison, type Interval, isDate, TRAFFICS, type View } from "../state/view.ts";
import { Choice } from "./card.tsx";

interface Props {
  view: View;
  timezone: string;
  own: string;
  change: (view: View) => void;
}

const SHORT: Interval[] = ["24h", "7d", "30d", "90d", "12mo"];
const NAMES: Record<Interval, string> = {
  "24h": "Last 24 hours",
  "7d": "Last 7 days",
  "30d": "Last 30 days",
  "90d": "Last 90 days",
  "12mo": "Last 12 months",
  mtd: "This month",
  qtd: "This quarter",
  ytd: "This year",
  all: "All time",
};
const WHO: Record<Traffic, string> = { human: "People", bot: "Bots", all: "All" };
const BEFORE: Record<Comparison, string> = {
  previous: "The time before",
  year: "A year earlier",
  none: "Nothing",
};

export function Toolbar({ view, timezone, own, change }: Props) {
  const interval = "interval" in view.when ? view.when.interval : null;
  const [dates, setDates] = useState(false);
  const choose = (value: string) => {
    if (value === "dates") return setDates(true);
    setDates(false);
    change({ ...view, when: { interval: value as Interval }, unit: null });
  };
  return (
    <div class="toolbar">
      <Choice label="Usual ranges" all={SHORT} chosen={dates ? null : interval} name={one => one} choose={choose} />
      <label>
        <span>Range</span>
        <select value={dates || !interval ? "dates" : interval} onChange={event => choose(event.currentTarget.value)}>
          {Object.entries(NAMES).map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
          <option value="dates">From … to …</option>
        </select>
      </label>
      {(dates || !interval) && <Dates view={view} change={change} />}
      <Choice
        label="Whose clicks"
        all={TRAFFICS}
        chosen={view.traffic}
        name={one => WHO[one]}
        choose={traffic => change({ ...view, traffic })}
      />
      <label>
        <span>Compared with</span>
        <select
          value={view.compare}
          onChange={event => change({ ...view, compare: event.currentTarget.value as Comparison })}
        >
          {COMPARISONS.map(compare => (
            <option key={compare} value={compare}>
              {BEFORE[compare]}
            </option>
          ))}
        </select>
      </label>
      <Zone timezone={timezone} own={own} choose={zone => change({ ...view, timezone: zone === own ? null : zone })} />
    </div>
  );
}

/** Two days, both included. Taken when both are there and in order. */
function Dates({ view, change }: Pick<Props, "view" | "change">) {
  const given = "start" in view.when ? view.when : null;
  const [start, setStart] = useState(given?.start ?? "");
  const [end, setEnd] = useState(given?.end ?? "");
  const wrong = isDate(start) && isDate(end) && start > end;
  const take = (from: string, to: string) => {
    setStart(from);
    setEnd(to);
    if (isDate(from) && isDate(to) && from <= to) change({ ...view, when: { start: from, end: to }, unit: null });
  };
  return (
    <div class="dates">
      <label>
        <span>From</span>
        <input type="date" value={start} aria-invalid={wrong} onInput={event => take(event.currentTarget.value, end)} />
      </label>
      <label>
        <span>To</span>
        <input type="date" value={end} aria-invalid={wrong} onInput={event => take(start, event.currentTarget.value)} />
      </label>
      {wrong && <p role="alert">The first day is after the last.</p>}
    </div>
  );
}

/** Every zone the browser knows; the service knows the same names. */
function Zone({ timezone, own, choose }: { timezone: string; own: string; choose: (zone: string) => void }) {
  const known = Intl.supportedValuesOf("timeZone");
  const first = [...new Set([own, "UTC", timezone])];
  const rest = known.filter(zone => !first.includes(zone));
  return (
    <label>
      <span>Time zone</span>
      <select value={timezone} onChange={event => choose(event.currentTarget.value)}>
        {[...first, ...rest].map(zone => (
          <option key={zone} value={zone}>
            {zone.replaceAll("_", " ")}
          </option>
        ))}
      </select>
    </label>
  );
}
