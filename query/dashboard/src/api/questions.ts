/** The view as one body of questions, answered at one watermark: its parts cannot disagree. */

import { type Filter, unitOf, type View } from "../state/view.ts";
import { countryOf } from "../words/places.ts";
import type { Breakdown, Bucket, Dimension, Freshness, Heatmap, Range, Summary, TopLinks } from "./types.ts";

/** How many values a panel lists. */
export const LISTED = 8;
/** Links of a page of the list. */
export const PAGE = 10;
/** There are fewer countries than this. */
const COUNTRIES = 300;
/** The most the API lists: places are picked out of it by what they begin with. */
const PLACES = 1000;

type Question = Record<string, unknown> & { ask: string };

export interface Asked {
  body: Record<string, unknown> & { questions: Question[] };
  /** The breakdowns, in the order of their questions. */
  dimensions: Dimension[];
}

/** All parts of the page. */
export interface Answer {
  summary: Summary;
  /** Clicks since midnight, as the live stream tells them: where it tells others, there are newer ones. */
  today: Pick<Summary, "clicks" | "bots">;
  range: Range;
  series: Bucket[];
  heatmap: Heatmap;
  breakdowns: Map<Dimension, Breakdown>;
  /** Clicks of people that something speaks against, by what it is. */
  suspected: Breakdown;
  links: TopLinks | null;
  freshness: Freshness;
}

export interface Answers {
  results: { ask: string; results: unknown; range: Range }[];
  meta: { freshness: Freshness };
}

/** The way a filter's value is written: commas separate values, a minus at the beginning turns them round, a star at the end stands for more. */
export function filterText(value: string): string {
  return value
    .replace(/([\\,])/g, "\\$1")
    .replace(/^-/, "\\-")
    .replace(/\*$/, "\\*");
}

/** The filter of all values that begin like this. */
function beginning(text: string): string {
  return `${filterText(text)}*`;
}

export function filterParameter(filter: Filter | null): Record<string, string> {
  return filter ? { [filter.dimension]: filterText(filter.value) } : {};
}

export function whenParameters(view: View): Record<string, string> {
  return "interval" in view.when ? { interval: view.when.interval } : { start: view.when.start, end: view.when.end };
}

/** Which places are looked for below the one that is chosen. */
export function placeDimensions(filter: Filter | null): Dimension[] {
  if (filter?.dimension === "country") return ["country", "region"];
  if (filter?.dimension === "region" || filter?.dimension === "city") return ["country", "region", "city"];
  return ["country"];
}

const PANELS: Dimension[] = [
  "referrer",
  "referrer_class",
  "device",
  "browser",
  "os",
  "utm_source",
  "utm_medium",
  "utm_campaign",
  "trigger",
  "language",
];

/** Rollups count one dimension at a time: under a filter, other dimensions are asked without it, and the page says so. */
export function questionsOf(view: View, timezone: string, today: string): Asked {
  const subject = view.link ? { link_id: view.link } : {};
  const filter = filterParameter(view.filter);
  const compare = view.compare === "none" || isAll(view) ? {} : { compare: view.compare };
  const questions: Question[] = [
    { ask: "summary", ...subject, ...compare, ...filter },
    { ask: "summary", ...subject, start: today, end: today },
    { ask: "timeseries", ...subject, unit: unitOf(view), ...filter },
    { ask: "heatmap", ...subject, ...filter },
  ];
  const dimensions: Dimension[] = [];
  const breakdown = (by: Dimension, limit: number, more: Record<string, string> = {}) => {
    questions.push({ ask: "breakdown", ...subject, by: [by], limit, ...more });
    dimensions.push(by);
  };
  for (const place of placeDimensions(view.filter)) {
    const country = place === "region" ? countryOf(view.filter) : null;
    breakdown(place, place === "country" ? COUNTRIES : PLACES, country ? { region: beginning(`${country}-`) } : {});
  }
  for (const panel of PANELS) breakdown(panel, LISTED);
  // Why machines are machines is a question about machines, whatever is looked at.
  breakdown("bot_reason", LISTED, { traffic: "bot" });
  const suspected = { traffic: "human", bot_reason: beginning("suspected:") };
  questions.push({ ask: "breakdown", ...subject, by: ["bot_reason"], limit: LISTED, ...suspected });
  if (!view.link) questions.push({ ask: "links", limit: PAGE });
  return { body: { ...whenParameters(view), timezone, traffic: view.traffic, questions }, dimensions };
}

/** There is nothing before all of it. */
function isAll(view: View): boolean {
  return "interval" in view.when && view.when.interval === "all";
}

export function readAnswer(asked: Asked, answers: Answers): Answer {
  const of = <T>(ask: string) =>
    answers.results.filter(result => result.ask === ask).map(result => result.results as T);
  const [summary, today] = of<Summary>("summary");
  const [series] = of<Bucket[]>("timeseries");
  const [heatmap] = of<Heatmap>("heatmap");
  const [first] = answers.results;
  if (!summary || !today || !series || !heatmap || !first) throw new Error("an answer lacks what was asked for");
  const breakdowns = of<Breakdown[]>("breakdown").flat();
  const suspected = breakdowns.pop() as Breakdown;
  return {
    summary,
    today,
    range: first.range,
    series,
    heatmap,
    breakdowns: new Map(asked.dimensions.map((dimension, at) => [dimension, breakdowns[at] as Breakdown])),
    suspected,
    links: of<TopLinks>("links")[0] ?? null,
    freshness: answers.meta.freshness,
  };
}
