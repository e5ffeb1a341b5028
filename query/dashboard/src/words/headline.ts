/** What happened, in one sentence. */

import type { Range, Summary, Traffic } from "../api/types.ts";
import type { View } from "../state/view.ts";
import { change, count, percent, rangeDays, valueName } from "./format.ts";

const INTERVALS: Record<string, [string, string]> = {
  "24h": ["in the last 24 hours", "in the 24 hours before"],
  "7d": ["in the last 7 days", "in the 7 days before"],
  "30d": ["in the last 30 days", "in the 30 days before"],
  "90d": ["in the last 90 days", "in the 90 days before"],
  "12mo": ["in the last 12 months", "in the 12 months before"],
  mtd: ["this month", "at this point of last month"],
  qtd: ["this quarter", "at this point of last quarter"],
  ytd: ["this year", "at this point of last year"],
  all: ["so far", ""],
};

const WHO: Record<Traffic, [string, string]> = {
  human: ["click by people", "clicks by people"],
  bot: ["click by bots", "clicks by bots"],
  all: ["click by people and bots", "clicks by people and bots"],
};

export function rangeInWords(view: View, range: Range): string {
  if ("interval" in view.when) return INTERVALS[view.when.interval]?.[0] ?? "";
  return `on ${rangeDays(range.start, range.end, range.timezone)}`.replace(/^on (.* – )/, "from $1");
}

export function comparedInWords(view: View): string {
  if (view.compare === "year") return "a year earlier";
  if ("interval" in view.when) return INTERVALS[view.when.interval]?.[1] ?? "before";
  return "in as many days before";
}

/** The number, and what follows it. */
export interface Headline {
  number: string;
  rest: string;
  /** By how much it differs from before, and what share bots had. */
  more: string[];
}

export function headline(view: View, summary: Summary, range: Range): Headline {
  const who = WHO[view.traffic][summary.clicks === 1 ? 0 : 1];
  const only = view.filter ? `, ${valueName(view.filter.dimension, view.filter.value)} only` : "";
  const more: string[] = [];
  const by = summary.comparison?.clicks_change;
  if (by !== undefined && by !== null) more.push(`That is ${change(by)} ${comparedInWords(view)}.`);
  const everyone = view.traffic === "human" ? summary.clicks + summary.bots : summary.clicks;
  if (view.traffic !== "bot" && summary.bots > 0) {
    const share = percent(summary.bots / everyone);
    more.push(view.traffic === "human" ? `Bots are left out: ${share} of all clicks.` : `Bots made ${share} of them.`);
  }
  return { number: count(summary.clicks), rest: `${who} ${rangeInWords(view, range)}${only}.`, more };
}
