/** Clicks over time: the chart, its legend, and the same as a table. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Bucket } from "../api/types.ts";
import type { TimeseriesChart } from "../charts/timeseries.ts";
import { useColors } from "../state/hooks.ts";
import { unitOf, unitsFor, type View } from "../state/view.ts";
import { bucketName, count, known } from "../words/format.ts";
import { comparedInWords } from "../words/headline.ts";
import { type Certainty, certainty, seriesInWords } from "../words/series.ts";
import { Card, Choice } from "./card.tsx";

interface Props {
  view: View;
  timezone: string;
  buckets: Bucket[];
  compared: Bucket[] | null;
  change: (view: View) => void;
}

const UNITS = { quarter: "15 min", hour: "Hour", day: "Day", week: "Week", month: "Month" };
const WORDS: Record<Certainty, string> = {
  final: "Final",
  provisional: "Provisional, may still change",
  partial: "Not over yet, or incomplete",
};

export function SeriesCard({ view, timezone, buckets, compared, change }: Props) {
  const unit = unitOf(view);
  const there = new Set(buckets.map(certainty));
  const legend = (["final", "provisional", "partial"] as const).filter(kind => there.has(kind));
  const tools = (
    <Choice
      label="A bar is"
      all={unitsFor(view)}
      chosen={unit}
      name={one => UNITS[one]}
      choose={chosen => change({ ...view, unit: chosen })}
    />
  );
  return (
    <Card title="Clicks over time" id="series" wide tools={tools}>
      <Chart view={view} timezone={timezone} buckets={buckets} compared={compared} change={change} />
      <ul class="legend">
        {legend.map(kind => (
          <li key={kind} data-kind={kind} data-traffic={view.traffic}>
            {WORDS[kind]}
          </li>
        ))}
        {view.traffic === "all" && <li data-kind="bots">Bots</li>}
        {compared && <li data-kind="compared">{capital(comparedInWords(view))}</li>}
      </ul>
      <details>
        <summary>As a table</summary>
        <SeriesTable view={view} timezone={timezone} buckets={buckets} compared={compared} />
      </details>
    </Card>
  );
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Days within longer bars are looked at by choosing the bar. */
function within(bucket: Bucket): { start: string; end: string } {
  // Instants are written in the zone's own time: their dates are its days.
  const last = new Date(Date.parse(`${bucket.end.slice(0, 10)}T00:00:00Z`) - 86_400_000).toISOString().slice(0, 10);
  const start = bucket.start.slice(0, 10);
  return last < start ? { start, end: start } : { start, end: last };
}

function Chart({ view, timezone, buckets, compared, change }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<TimeseriesChart | null>(null);
  const [ready, setReady] = useState(false);
  // A service that was replaced meanwhile no longer has the files of this page.
  const [failed, setFailed] = useState(false);
  const colors = useColors();
  const unit = unitOf(view);
  const chosen = useRef<(at: number) => void>(() => {});
  chosen.current = at => {
    const bucket = buckets[at];
    if (bucket && (unit === "day" || unit === "week" || unit === "month"))
      change({ ...view, when: within(bucket), unit: null });
  };
  useEffect(() => {
    let gone = false;
    import("../charts/timeseries.ts").then(
      ({ TimeseriesChart }) => {
        if (gone || !box.current) return;
        chart.current = new TimeseriesChart(box.current, at => chosen.current(at));
        setReady(true);
      },
      () => setFailed(true),
    );
    return () => {
      gone = true;
      chart.current?.remove();
      chart.current = null;
    };
  }, []);
  useEffect(() => {
    if (!ready) return;
    chart.current?.draw({ buckets, compared, unit, timezone, traffic: view.traffic });
    performance.mark("linktide-chart");
  }, [ready, buckets, compared, unit, timezone, view.traffic, colors]);
  if (failed) return <p role="alert">The chart cannot be loaded; the table has its numbers. Load the page again.</p>;
  return <div class="chart" ref={box} role="img" aria-label={seriesInWords(buckets, unit, timezone)} />;
}

function SeriesTable({ view, timezone, buckets, compared }: Omit<Props, "change">) {
  const unit = unitOf(view);
  const unique = buckets.some(bucket => bucket.unique_clicks !== null);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Clicks over time as a table">
      <table class="plain" data-testid="series">
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">Clicks</th>
            {unique && <th scope="col">Without repeats</th>}
            <th scope="col">Bots</th>
            {compared && <th scope="col">Before</th>}
            <th scope="col">State</th>
          </tr>
        </thead>
        <tbody>
          {buckets.map((bucket, at) => (
            <tr key={bucket.start}>
              <th scope="row">{bucketName(bucket.start, bucket.end, unit, timezone)}</th>
              <td>{count(bucket.clicks)}</td>
              {unique && <td>{known(bucket.unique_clicks)}</td>}
              <td>{count(bucket.bots)}</td>
              {compared && <td>{compared[at] ? count(compared[at].clicks) : "–"}</td>}
              <td>{WORDS[certainty(bucket)]}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
