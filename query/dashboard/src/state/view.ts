/**
 * What the page shows, as it stands in its address: whoever is sent the address sees the same. What is usual is left out,
 * and what cannot be understood is taken for the usual; an old bookmark never breaks the page.
 */

import { DIMENSIONS, type Dimension, type Traffic, type Unit } from "../api/types.ts";

export const INTERVALS = ["24h", "7d", "30d", "90d", "12mo", "mtd", "qtd", "ytd", "all"] as const;
export type Interval = (typeof INTERVALS)[number];
export const TRAFFICS: readonly Traffic[] = ["human", "bot", "all"];
export const UNITS: readonly Unit[] = ["quarter", "hour", "day", "week", "month"];
export const COMPARISONS = ["previous", "year", "none"] as const;
export type Comparison = (typeof COMPARISONS)[number];

/** An interval that ends now, or days of the zone, both included. */
export type When = { interval: Interval } | { start: string; end: string };

/** The clicks of one value of one dimension alone. */
export interface Filter {
  dimension: Dimension;
  value: string;
}

export interface View {
  /** None: all links together. */
  link: string | null;
  when: When;
  /** None: the reader's own. */
  timezone: string | null;
  traffic: Traffic;
  /** None: what suits the range. */
  unit: Unit | null;
  compare: Comparison;
  filter: Filter | null;
  search: string;
  /** Which dimension each panel with tabs shows, where it is not its first. */
  tabs: Dimension[];
}

export const USUAL: View = {
  link: null,
  when: { interval: "30d" },
  timezone: null,
  traffic: "human",
  unit: null,
  compare: "previous",
  filter: null,
  search: "",
  tabs: [],
};

const DATE = /^\d{4}-\d{2}-\d{2}$/;
/** Ids have 64 bits; what is no id is left to the API, which says so. */
const ID = /^\d{1,20}$/;

function oneOf<T extends string>(all: readonly T[], text: string | null): T | null {
  return all.find(one => one === text) ?? null;
}

export function isDate(text: string): boolean {
  return DATE.test(text) && !Number.isNaN(Date.parse(text));
}

function parseWhen(query: URLSearchParams): When {
  const [start, end] = [query.get("start") ?? "", query.get("end") ?? ""];
  if (isDate(start) && isDate(end) && start <= end) return { start, end };
  return { interval: oneOf(INTERVALS, query.get("interval")) ?? "30d" };
}

function parseFilter(text: string | null): Filter | null {
  const at = text?.indexOf(":") ?? -1;
  if (text === null || at < 0) return null;
  const dimension = oneOf(DIMENSIONS, text.slice(0, at));
  const value = text.slice(at + 1);
  return dimension && value ? { dimension, value } : null;
}

export function parseView(search: string): View {
  const query = new URLSearchParams(search);
  const link = query.get("link");
  const tabs = (query.get("tabs") ?? "").split(",").map(tab => oneOf(DIMENSIONS, tab));
  return {
    link: link !== null && ID.test(link) ? link : null,
    when: parseWhen(query),
    timezone: query.get("timezone") || null,
    traffic: oneOf(TRAFFICS, query.get("traffic")) ?? USUAL.traffic,
    unit: oneOf(UNITS, query.get("unit")),
    compare: oneOf(COMPARISONS, query.get("compare")) ?? USUAL.compare,
    filter: parseFilter(query.get("filter")),
    search: query.get("search") ?? "",
    tabs: tabs.filter(tab => tab !== null),
  };
}

/** The part of the address behind `?`, empty for the usual view. */
export function formatView(view: View): string {
  const query = new URLSearchParams();
  if (view.link) query.set("link", view.link);
  if ("start" in view.when) {
    query.set("start", view.when.start);
    query.set("end", view.when.end);
  } else if (view.when.interval !== "30d") query.set("interval", view.when.interval);
  if (view.timezone) query.set("timezone", view.timezone);
  if (view.traffic !== USUAL.traffic) query.set("traffic", view.traffic);
  if (view.unit) query.set("unit", view.unit);
  if (view.compare !== USUAL.compare) query.set("compare", view.compare);
  if (view.filter) query.set("filter", `${view.filter.dimension}:${view.filter.value}`);
  if (view.search) query.set("search", view.search);
  if (view.tabs.length > 0) query.set("tabs", view.tabs.join(","));
  const text = query.toString();
  return text ? `?${text}` : "";
}

/** The dimension that a panel shows: its tab of the address, or its first. */
export function tabOf<D extends Dimension>(view: View, dimensions: readonly [D, ...D[]]): D {
  return dimensions.find(dimension => view.tabs.includes(dimension)) ?? dimensions[0];
}

export function withTab<D extends Dimension>(view: View, dimensions: readonly [D, ...D[]], chosen: D): View {
  const others = view.tabs.filter(tab => !(dimensions as readonly Dimension[]).includes(tab));
  return { ...view, tabs: chosen === dimensions[0] ? others : [...others, chosen] };
}

/** Days of a range of dates, both included. */
function days(start: string, end: string): number {
  return Math.round((Date.parse(end) - Date.parse(start)) / 86_400_000) + 1;
}

const UNIT_OF: Record<Interval, Unit> = {
  "24h": "hour",
  "7d": "day",
  "30d": "day",
  "90d": "day",
  "12mo": "month",
  mtd: "day",
  qtd: "day",
  ytd: "week",
  all: "month",
};

/** The unit that is drawn: the chosen one, or the one that gives a chart between a dozen and a hundred bars. */
export function unitOf(view: View): Unit {
  if (view.unit) return view.unit;
  if ("interval" in view.when) return UNIT_OF[view.when.interval];
  const length = days(view.when.start, view.when.end);
  if (length <= 2) return "hour";
  if (length <= 120) return "day";
  return length <= 500 ? "week" : "month";
}

/** The units that make sense for the range: neither one bar nor thousands. */
export function unitsFor(view: View): Unit[] {
  const length = "start" in view.when ? days(view.when.start, view.when.end) : LENGTH[view.when.interval];
  const fits: Record<Unit, boolean> = {
    quarter: length <= 3,
    hour: length <= 31,
    day: length >= 2 && length <= 800,
    week: length >= 14,
    month: length >= 58,
  };
  return UNITS.filter(unit => fits[unit] || unit === unitOf(view));
}

/** Days of an interval, about. */
const LENGTH: Record<Interval, number> = {
  "24h": 1,
  "7d": 7,
  "30d": 30,
  "90d": 90,
  "12mo": 366,
  mtd: 31,
  qtd: 92,
  ytd: 366,
  all: 3650,
};
