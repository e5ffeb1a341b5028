/** What happened to the links, in a sentence and four numbers. */

import type { Answer } from "../api/questions.ts";
import type { View } from "../state/view.ts";
import { certain, count, delta, dimensionTitle, moment, short, valueName, visitors } from "../words/format.ts";
import { headline } from "../words/headline.ts";

interface Props {
  view: View;
  answer: Answer;
  change: (view: View) => void;
}

export function Headline({ view, answer, change }: Props) {
  const { summary, range } = answer;
  const said = headline(view, summary, range);
  return (
    <section class="headline" aria-label="Summary">
      <p class="sentence" data-testid="headline">
        <b>{said.number}</b> {said.rest} <span>{said.more.join(" ")}</span>
      </p>
      {view.filter && (
        <p class="chip">
          {dimensionTitle(view.filter.dimension)}: <b>{valueName(view.filter.dimension, view.filter.value)}</b>
          <button type="button" aria-label="Remove the filter" onClick={() => change({ ...view, filter: null })}>
            ×
          </button>
        </p>
      )}
      <Tiles answer={answer} />
    </section>
  );
}

function Delta({ by }: { by: number | null | undefined }) {
  if (by === null || by === undefined) return null;
  const way = by > 0.0005 ? "up" : by < -0.0005 ? "down" : "same";
  return (
    <span class="delta" data-way={way}>
      {delta(by)}
    </span>
  );
}

function Tiles({ answer: { summary, range } }: { answer: Answer }) {
  const { comparison, unique_clicks, uniques, bots, last_click } = summary;
  return (
    <dl class="tiles">
      <div>
        <dt>Clicks</dt>
        <dd>
          <b data-testid="clicks" title={count(summary.clicks)}>
            {short(summary.clicks)}
          </b>
          <Delta by={comparison?.clicks_change} />
        </dd>
        {unique_clicks !== null && (
          <dd class="quiet" title="A click of the same visitor on the same link soon after another is a repeat">
            <span data-testid="unique">{count(unique_clicks)}</span> without repeats
          </dd>
        )}
        <dd class="quiet">{comparison ? `${count(comparison.clicks)} before` : "of the traffic shown"}</dd>
      </div>
      <div>
        <dt>Visitors</dt>
        <dd>
          <b data-testid="visitors">{uniques ? visitors(uniques) : "–"}</b>
          <Delta by={comparison?.uniques_change} />
        </dd>
        <dd class="quiet">{uniques ? `people, ${certain(uniques)}` : "not counted under a filter"}</dd>
      </div>
      <div>
        <dt>Bots</dt>
        <dd>
          <b data-testid="bots" title={count(bots)}>
            {short(bots)}
          </b>
        </dd>
        <dd class="quiet">known by what they say and do</dd>
      </div>
      <div>
        <dt>Last click</dt>
        <dd>
          <b>{last_click ? moment(new Date(last_click), new Date(), range.timezone) : "–"}</b>
        </dd>
        <dd class="quiet">{last_click ? "of anyone, ever" : "not known under a filter"}</dd>
      </div>
    </dl>
  );
}
