/** Where clicks came from: the world, then regions, then cities. */

import { useEffect, useState } from "preact/hooks";
import type { Answer } from "../api/questions.ts";
import type { Value } from "../api/types.ts";
import type { Filter, View } from "../state/view.ts";
import { count, countryName } from "../words/format.ts";
import { level, steps } from "../words/places.ts";
import { Bars } from "./bars.tsx";
import { Card, UNFILTERED } from "./card.tsx";

interface Props {
  view: View;
  answer: Answer;
  change: (view: View) => void;
}

/** Rows that are shown at once. */
const ROWS = 8;
/** Shades of the map, from hardly any to the most. */
const SHADES = 6;

export function Places({ view, answer, change }: Props) {
  const { dimension, values, total } = level(view.filter, answer.breakdowns);
  const path = steps(view.filter, countryName);
  const [all, setAll] = useState(false);
  const go = (filter: Filter | null) => change({ ...view, filter });
  const shown = all ? values : cut(values);
  const note = view.filter && path.length === 1 ? UNFILTERED : null;
  return (
    <Card title="Places" id="places" wide note={note}>
      <div class="places">
        <WorldMap
          values={answer.breakdowns.get("country")?.values ?? []}
          chosen={path[1]?.filter?.value ?? null}
          choose={value => go({ dimension: "country", value })}
        />
        <div>
          <nav class="path" aria-label="Where in the world">
            <ol>
              {path.map((step, at) => (
                <li key={step.name}>
                  {at === path.length - 1 ? (
                    <span aria-current="location">{step.name}</span>
                  ) : (
                    <button type="button" onClick={() => go(step.filter)}>
                      {step.name}
                    </button>
                  )}
                </li>
              ))}
            </ol>
          </nav>
          <Bars
            dimension={dimension}
            values={shown}
            total={total}
            chosen={view.filter?.dimension === dimension ? view.filter.value : null}
            choose={value => go({ dimension, value })}
          />
          {values.length > ROWS && (
            <button type="button" class="more" onClick={() => setAll(!all)}>
              {all ? "Show fewer" : `Show all ${count(values.length)}`}
            </button>
          )}
        </div>
      </div>
    </Card>
  );
}

/** The first rows, and what the others sum to. */
function cut(values: Value[]): Value[] {
  if (values.length <= ROWS) return values;
  const [first, others] = [values.slice(0, ROWS - 1), values.slice(ROWS - 1)];
  const clicks = others.reduce((sum, value) => sum + value.clicks, 0);
  return [...first, { value: "(other)", clicks, share: 0 }];
}

type World = Awaited<typeof import("../charts/world.ts")>["default"];

/** How dark a country is. The scale is logarithmic: else one country is dark and all others are none. */
function shade(clicks: number, most: number): number {
  if (clicks === 0) return 0;
  return Math.max(1, Math.ceil((Math.log(clicks + 1) / Math.log(most + 1)) * SHADES));
}

function WorldMap(props: { values: Value[]; chosen: string | null; choose: (country: string) => void }) {
  const [world, setWorld] = useState<World | null>(null);
  useEffect(() => {
    import("../charts/world.ts").then(
      module => setWorld(module.default),
      // The list beside it says the same.
      () => setWorld(null),
    );
  }, []);
  const { values, chosen, choose } = props;
  const clicks = new Map(values.map(value => [value.value, value.clicks]));
  const known = values.filter(value => !value.value.startsWith("("));
  const most = Math.max(...known.map(value => value.clicks), 1);
  const first = known.slice(0, 3).map(value => `${countryName(value.value)} ${count(value.clicks)}`);
  const country = (code: string) => {
    const here = clicks.get(code) ?? 0;
    return {
      "data-country": code,
      "data-clicks": here,
      "data-shade": shade(here, most),
      "data-chosen": code !== "" && code === chosen,
      onClick: here > 0 ? () => choose(code) : undefined,
      title: <title>{`${code ? countryName(code) : "No data"}: ${count(here)}`}</title>,
    };
  };
  return (
    <figure class="map">
      {/* The list beside it says the same to keyboards and screen readers. */}
      <svg
        viewBox={world ? `0 0 ${world.width} ${world.height}` : "0 0 960 417"}
        role="img"
        aria-label={first.length > 0 ? `Clicks by country; most from ${first.join(", ")}` : "Clicks by country: none"}
      >
        {world?.shapes.map(([code, path]) => {
          const { title, ...attributes } = country(code);
          return (
            <path key={path} d={path} {...attributes}>
              {title}
            </path>
          );
        })}
        {world?.points
          .filter(([code]) => clicks.has(code))
          .map(([code, [x, y]]) => {
            const { title, ...attributes } = country(code);
            return (
              <circle key={code} cx={x} cy={y} r={5} {...attributes}>
                {title}
              </circle>
            );
          })}
      </svg>
    </figure>
  );
}
