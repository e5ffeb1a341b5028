/**
 * Clicks over time. What is final is solid; what rests on the last hours is hatched, for it may still change; what is not
 * over or lacks a layer is hatched in outline. The comparison is a line behind it, bucket by bucket.
 *
 * It is drawn on a canvas, with tooltips made of elements: the page's policy forbids styles within markup.
 */

import { BarChart, LineChart } from "echarts/charts";
import { GridComponent, TooltipComponent } from "echarts/components";
import { type EChartsCoreOption, type EChartsType, init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import type { Bucket, Traffic, Unit } from "../api/types.ts";
import { bucketMark, bucketName, count, delta, short } from "../words/format.ts";
import { certainty } from "../words/series.ts";

use([BarChart, LineChart, GridComponent, TooltipComponent, CanvasRenderer]);

export interface Series {
  buckets: Bucket[];
  compared: Bucket[] | null;
  unit: Unit;
  timezone: string;
  traffic: Traffic;
}

export interface Colors {
  people: string;
  bots: string;
  compared: string;
  ink: string;
  muted: string;
  line: string;
  surface: string;
}

function colorsOf(element: Element): Colors {
  const style = getComputedStyle(element);
  const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    people: color("people"),
    bots: color("bots"),
    compared: color("compared"),
    ink: color("ink"),
    muted: color("muted"),
    line: color("line"),
    surface: color("surface"),
  };
}

function bar(bucket: Bucket, color: string, surface: string) {
  const sure = certainty(bucket);
  if (sure === "final") return { color };
  return {
    color: surface,
    borderColor: color,
    borderWidth: 1.5,
    borderType: sure === "partial" ? [4, 3] : "solid",
    decal: {
      color,
      symbol: "rect",
      dashArrayX: [1, 0],
      dashArrayY: sure === "partial" ? [1.5, 5] : [3, 3],
      rotation: -Math.PI / 4,
    },
  };
}

/** The tooltip of a bucket, as elements. */
function tip(series: Series, at: number): HTMLElement | string {
  const bucket = series.buckets[at];
  if (!bucket) return "";
  const rows: [string, string][] =
    series.traffic === "all"
      ? [
          ["People", count(bucket.clicks - bucket.bots)],
          ["Bots", count(bucket.bots)],
        ]
      : [[series.traffic === "bot" ? "Bots" : "Clicks", count(bucket.clicks)]];
  if (bucket.unique_clicks !== null) rows.push(["Without repeats", count(bucket.unique_clicks)]);
  const before = series.compared?.[at];
  if (before) {
    const by = before.clicks > 0 ? ` (${delta(bucket.clicks / before.clicks - 1)})` : "";
    rows.push([bucketName(before.start, before.end, series.unit, series.timezone), count(before.clicks) + by]);
  }
  const words = { final: "Final", provisional: "Provisional: may still change", partial: "Not over, or incomplete" };
  const box = document.createElement("div");
  const add = (tag: string, text: string, to: HTMLElement = box) => {
    const element = document.createElement(tag);
    element.textContent = text;
    to.append(element);
    return element;
  };
  add("strong", bucketName(bucket.start, bucket.end, series.unit, series.timezone));
  const list = add("dl", "");
  for (const [name, value] of rows) {
    add("dt", name, list);
    add("dd", value, list);
  }
  add("small", words[certainty(bucket)]);
  return box;
}

export function seriesOption(series: Series, colors: Colors, still: boolean): EChartsCoreOption {
  const { buckets, compared, unit, timezone, traffic } = series;
  const bars = (name: string, color: string, clicks: (bucket: Bucket) => number) => ({
    name,
    type: "bar",
    stack: "clicks",
    barCategoryGap: buckets.length > 60 ? "12%" : "22%",
    barMaxWidth: 56,
    data: buckets.map(bucket => ({ value: clicks(bucket), itemStyle: bar(bucket, color, colors.surface) })),
  });
  const parts =
    traffic === "all"
      ? [
          bars("People", colors.people, bucket => bucket.clicks - bucket.bots),
          bars("Bots", colors.bots, bucket => bucket.bots),
        ]
      : [bars("Clicks", traffic === "bot" ? colors.bots : colors.people, bucket => bucket.clicks)];
  // A line over bars is seen by the rim of the surface's colour around its dashes.
  const line = (name: string, color: string, width: number, z: number) => ({
    name,
    type: "line",
    data: buckets.map((_, at) => compared?.[at]?.clicks ?? null),
    symbol: "none",
    lineStyle: { color, width, type: [6, 4] },
    itemStyle: { color },
    silent: true,
    z,
  });
  const before = [line("Rim", colors.surface, 5, 3), line("Before", colors.compared, 2, 4)];
  return {
    animation: !still,
    animationDuration: 0,
    animationDurationUpdate: 250,
    textStyle: { fontFamily: "inherit" },
    grid: { left: 4, right: 8, top: 12, bottom: 0, containLabel: true },
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "shadow", shadowStyle: { color: colors.line, opacity: 0.35 } },
      confine: true,
      className: "tip",
      backgroundColor: colors.surface,
      borderColor: colors.line,
      textStyle: { color: colors.ink },
      formatter: (points: { dataIndex: number }[]) => tip(series, points[0]?.dataIndex ?? -1),
    },
    xAxis: {
      type: "category",
      data: buckets.map(bucket => bucketMark(bucket.start, unit, timezone)),
      axisLine: { lineStyle: { color: colors.line } },
      axisTick: { show: false },
      axisLabel: { color: colors.muted, hideOverlap: true, fontSize: 12 },
    },
    yAxis: {
      type: "value",
      minInterval: 1,
      splitLine: { lineStyle: { color: colors.line } },
      axisLabel: { color: colors.muted, fontSize: 12, formatter: (value: number) => short(value) },
    },
    series: [...parts, ...before],
  };
}

/** A chart in an element, until it is taken away. */
export class TimeseriesChart {
  private readonly chart: EChartsType;
  private readonly resized: ResizeObserver;

  constructor(
    private readonly element: HTMLElement,
    chosen: (bucket: number) => void,
  ) {
    this.chart = init(element, null, { renderer: "canvas" });
    this.chart.on("click", event => chosen(event.dataIndex));
    this.resized = new ResizeObserver(() => this.chart.resize());
    this.resized.observe(element);
  }

  draw(series: Series) {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.chart.setOption(seriesOption(series, colorsOf(this.element), still), { replaceMerge: ["series"] });
  }

  remove() {
    this.resized.disconnect();
    this.chart.dispose();
  }
}
