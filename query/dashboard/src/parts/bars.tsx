/** Values of a dimension as rows with bars. */

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Dimension, Value } from "../api/types.ts";
import { count, percent, valueName } from "../words/format.ts";

interface Props {
  dimension: Dimension;
  values: Value[];
  /** What shares are of. */
  total: number;
  chosen?: string | null;
  choose?: (value: string) => void;
  /** What a value is called here, where the dimension's own name for it says too much. */
  called?: (value: string) => string;
  empty?: ComponentChildren;
}

/** The policy forbids styles in markup; one that a script sets is none. */
function Bar({ share }: { share: number }) {
  const bar = useRef<HTMLSpanElement>(null);
  useLayoutEffect(() => {
    bar.current?.style.setProperty("width", `${Math.max(share * 100, share > 0 ? 0.5 : 0)}%`);
  }, [share]);
  return <span class="bar" ref={bar} />;
}

export function Bars({ dimension, values, total, chosen, choose, called, empty }: Props) {
  if (values.length === 0) return <p class="quiet">{empty ?? "Nothing in this range."}</p>;
  const most = Math.max(...values.map(value => value.clicks), 1);
  return (
    <ol class="bars" data-dimension={dimension}>
      {values.map(({ value, clicks }) => {
        const name = called?.(value) ?? valueName(dimension, value);
        const row = (
          <>
            <span class="name" title={name}>
              {name}
            </span>
            <span class="clicks">{count(clicks)}</span>
            <span class="share">{total > 0 ? percent(clicks / total) : ""}</span>
            <span class="track" aria-hidden="true">
              <Bar share={clicks / most} />
            </span>
          </>
        );
        return (
          <li key={value} data-value={value} data-clicks={clicks}>
            {choose && value !== "(other)" ? (
              <button type="button" class="row" aria-pressed={value === chosen} onClick={() => choose(value)}>
                {row}
              </button>
            ) : (
              <div class="row">{row}</div>
            )}
          </li>
        );
      })}
    </ol>
  );
}
