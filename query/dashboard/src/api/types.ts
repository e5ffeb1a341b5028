/** What the API says (docs/api.md), as far as the page shows it. */

export type Traffic = "human" | "bot" | "all";
export type Unit = "quarter" | "hour" | "day" | "week" | "month";
export type Layer = "batch" | "speed";

export const DIMENSIONS = [
  "country",
  "region",
  "city",
  "continent",
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
  "bot_reason",
] as const;
export type Dimension = (typeof DIMENSIONS)[number];

export interface Range {
  start: string;
  end: string;
  timezone: string;
}

export interface Label {
  slug: string | null;
  title: string | null;
  destination: string | null;
}

export interface Uniques {
  estimate: number;
  /** `exact`: each was counted. `hll`: about as many. */
  method: "exact" | "hll";
  standard_error: number;
  identity: string;
}

export interface Compared {
  with: string;
  range: Range;
  clicks: number;
  unique_clicks: number | null;
  bots: number;
  uniques: number | null;
  clicks_change: number | null;
  uniques_change: number | null;
}

export interface Summary {
  clicks: number;
  /** Clicks of people without repeats; null where that is not known. */
  unique_clicks: number | null;
  bots: number;
  previews: number | null;
  uniques: Uniques | null;
  first_click: string | null;
  last_click: string | null;
  label?: Label;
  comparison?: Compared;
}

export interface Bucket {
  start: string;
  end: string;
  clicks: number;
  unique_clicks: number | null;
  bots: number;
  layers: Layer[];
  partial: boolean;
}

export interface Value {
  value: string;
  clicks: number;
  share: number;
}

export interface Breakdown {
  dimension: Dimension;
  total: number;
  values: Value[];
}

export interface Heatmap {
  total: number;
  /** Seven days from Monday on, each with 24 hours. */
  hours: number[][];
}

export interface TopLink {
  link_id: string;
  clicks: number;
  unique_clicks: number | null;
  label?: Label;
}

export interface TopLinks {
  total: number;
  count: number;
  links: TopLink[];
  other: number;
  next?: string;
}

export interface Freshness {
  as_of: string;
  lag_seconds: number;
  complete_through: string;
  stale: boolean;
  reasons: string[];
  gaps: string[];
  layers: {
    speed: { state: "ok" | "rebuilding" | "unavailable" | "not_asked"; as_of: string | null; held_from: string | null };
    batch: { state: "ok" | "unavailable"; publication: number; published_at: string; age_seconds: number };
  };
}

/** An event of the live stream. */
export interface Told {
  since: string;
  clicks: number;
  bots: number;
  new: { clicks: number; bots: number };
  as_of: string;
  stale: boolean;
  reasons: string[];
}

/** A problem document (RFC 9457). */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  parameter?: string;
  scope?: string;
  job?: string;
}
