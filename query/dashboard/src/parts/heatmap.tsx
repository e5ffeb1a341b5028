/** When in the week clicks come. It is a table: a screen reader reads its cells, and no script has to draw it. */

import type { Heatmap } from "../api/types.ts";
import { count, plural } from "../words/format.ts";
import { Card } from "./card.tsx";

const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const SHADES = 7;

/** Shades go by the root: one busy hour would else make all others look alike. */
function shade(clicks: number, most: number): number {
  return Math.ceil(Math.sqrt(clicks / most) * SHADES);
}

function hour(at: number): string {
  return `${String(at).padStart(2, "0")}:00`;
}

export function HeatmapCard({ heatmap, timezone }: { heatmap: Heatmap; timezone: string }) {
  const most = Math.max(...heatmap.hours.flat(), 1);
  const [day, at] = busiest(heatmap.hours);
  const note =
    heatmap.total > 0
      ? `Busiest: ${DAYS[day]}, ${hour(at)} to ${hour((at + 1) % 24)}, by the clocks of ${timezone.replaceAll("_", " ")}.`
      : "Nothing in this range.";
  return (
    <Card title="Hours of the week" id="heatmap" two note={note}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Hours of the week as a table">
        <table class="heat" data-testid="heatmap">
          <thead>
            <tr>
              <td />
              {Array.from({ length: 24 }, (_, at) => (
                <th key={hour(at)} scope="col" aria-label={hour(at)}>
                  {at % 3 === 0 ? String(at).padStart(2, "0") : ""}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {heatmap.hours.map((hours, day) => (
              <tr key={DAYS[day]}>
                <th scope="row">
                  <abbr title={DAYS[day]}>{DAYS[day]?.slice(0, 3)}</abbr>
                </th>
                {hours.map((clicks, at) => (
                  <td
                    key={hour(at)}
                    data-shade={shade(clicks, most)}
                    data-clicks={clicks}
                    title={`${DAYS[day]}, ${hour(at)}: ${plural(clicks, "click")}`}
                  >
                    <span class="hidden">{count(clicks)}</span>
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function busiest(hours: number[][]): [number, number] {
  let best: [number, number] = [0, 0];
  hours.forEach((row, day) => {
    row.forEach((clicks, at) => {
      if (clicks > (hours[best[0]]?.[best[1]] ?? 0)) best = [day, at];
    });
  });
  return best;
}
