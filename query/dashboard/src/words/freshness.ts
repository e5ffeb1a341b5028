/**
 * How fresh the numbers are, in words for whoever looks at them: what is late, what is missing, and why. The API's own
 * reasons are exact and for operators; they stand below as they are.
 */

import type { Freshness } from "../api/types.ts";
import { moment, span } from "./format.ts";

/** `fresh`: all is counted. `late`: the newest may be missing for a moment. `missing`: a part is known to be missing. `offline`: nobody answers. */
export type Level = "fresh" | "late" | "missing" | "offline";

export interface Told {
  level: Level;
  /** A few words for the badge. */
  headline: string;
  /** What that means for the numbers, in whole sentences. */
  sentences: string[];
}

/** What the page knows of its connection. */
export interface Connection {
  /** Since when nobody answers; none while somebody does. */
  lostAt: Date | null;
}

/** A day and some hours: a night that did not come. */
const OLD_HISTORY = 26 * 3600;

export function tellFreshness(freshness: Freshness, connection: Connection, now: Date, timezone: string): Told {
  const at = (instant: string, seconds = false) => moment(new Date(instant), now, timezone, seconds);
  const through = at(freshness.complete_through);
  if (connection.lostAt) {
    const lost = moment(connection.lostAt, now, timezone, true);
    return {
      level: "offline",
      headline: `Not connected since ${lost}`,
      sentences: [
        `Linktide has not answered since ${lost}. The numbers are as of ${at(freshness.as_of, true)} and stay as they are until it does.`,
        "This page keeps trying and goes on by itself.",
      ],
    };
  }
  const speed = freshness.layers.speed.state;
  const history = freshness.layers.batch.state;
  if (history === "unavailable" && speed === "unavailable") {
    return {
      level: "missing",
      headline: "Numbers cannot be read",
      sentences: [
        "Neither the history nor the store of recent clicks can be read. Clicks go on being recorded and will be counted.",
      ],
    };
  }
  if (history === "unavailable") {
    return {
      level: "missing",
      headline: `History before ${through} is missing`,
      sentences: [
        `The tables of history cannot be read, so nothing that came in before ${through} is in these numbers.`,
        `What came in since is counted. Nothing is lost: it is back as soon as the tables can be read.`,
      ],
    };
  }
  if (speed === "unavailable") {
    return {
      level: "missing",
      headline: `Clicks since ${through} are missing`,
      sentences: [
        `The store of recent clicks does not answer, so nothing that came in since ${through} is in these numbers. What came in before is complete.`,
        "Nothing is lost: clicks go on being recorded, and appear when the store is back.",
      ],
    };
  }
  if (freshness.gaps.length > 0) {
    return {
      level: "missing",
      headline: "Some clicks are missing",
      sentences: ["Some clicks could not be counted and are not in these numbers. Which ones is written below."],
    };
  }
  if (speed === "rebuilding") {
    return {
      level: "late",
      headline: `Counting is ${span(freshness.lag_seconds)} behind`,
      sentences: [
        `All that came in before ${at(freshness.as_of, true)} is counted. Later clicks are not yet: the counting of recent clicks has just begun, is very busy, or cannot read the log of clicks.`,
        "Nothing is lost: they appear as it goes on.",
      ],
    };
  }
  if (freshness.stale) {
    return {
      level: "missing",
      headline: "Not everything is counted",
      sentences: ["These numbers lack something. What it is is written below."],
    };
  }
  const sentences = [
    `Every click that came in before ${at(freshness.as_of, true)} is counted.`,
    `Clicks before ${through} rest on history and are final but for late arrivals; later ones are provisional until the next nightly run.`,
  ];
  if (freshness.layers.batch.age_seconds > OLD_HISTORY) {
    sentences.push(
      `History was last rolled up ${span(freshness.layers.batch.age_seconds)} ago. Nothing is missing, but a nightly run seems to be overdue.`,
    );
  }
  return { level: "fresh", headline: `Up to date, as of ${at(freshness.as_of, true)}`, sentences };
}
