import assert from "node:assert/strict";
import { test } from "node:test";
import type { Summary } from "../src/api/types.ts";
import { USUAL } from "../src/state/view.ts";
import {
  bucketMark,
  bucketName,
  certain,
  change,
  count,
  date,
  delta,
  known,
  moment,
  percent,
  rangeDays,
  short,
  span,
  valueName,
  visitors,
} from "../src/words/format.ts";
import { headline } from "../src/words/headline.ts";

test("numbers are whole where they are read, and short where there is no room", () => {
  assert.equal(count(1_234_567), "1,234,567");
  assert.deepEqual([0, 9_999, 10_000, 1_234_567].map(short), ["0", "9,999", "10K", "1.23M"]);
});

test("what was counted one by one and what is estimated are told apart", () => {
  const exact = { estimate: 97, method: "exact", standard_error: 0 } as const;
  const about = { estimate: 1_234_567, method: "hll", standard_error: 0.008125 } as const;
  assert.deepEqual([exact, about].map(visitors), ["= 97", "≈ 1.23M"]);
  assert.deepEqual([exact, about].map(certain), ["each one counted", "± 0.8 %"]);
  assert.deepEqual([0, 1234, null].map(known), ["0", "1,234", "–"]);
});

test("a share that is little is not nothing, and one of nearly all is not all", () => {
  assert.deepEqual([0, 0.0004, 0.0123, 0.5, 0.123456, 1].map(percent), [
    "0 %",
    "< 0.1 %",
    "1.2 %",
    "50 %",
    "12 %",
    "100 %",
  ]);
});

test("changes are told in words and in a badge", () => {
  assert.equal(change(0.25), "25 % more than");
  assert.equal(change(-0.1), "10 % fewer than");
  assert.equal(change(0), "as many as");
  assert.equal(change(11), "12 times as many as");
  assert.deepEqual([0.2, -0.2, 0, 20].map(delta), ["▲ 20 %", "▼ 20 %", "±0 %", "▲ ×21"]);
});

test("spans are rounded down", () => {
  assert.deepEqual([-1, 1, 89, 90, 5399, 5400, 200_000].map(span), [
    "0 seconds",
    "1 second",
    "89 seconds",
    "1 minute",
    "89 minutes",
    "1 hour",
    "2 days",
  ]);
});

test("moments are of the zone that was chosen, not of the reader's machine", () => {
  const now = new Date("2026-11-26T20:00:00Z");
  assert.equal(moment(new Date("2026-11-26T18:40:05Z"), now, "Asia/Kolkata"), "00:10");
  assert.equal(moment(new Date("2026-11-26T18:00:05Z"), now, "Asia/Kolkata", true), "26 Nov, 23:30:05");
  assert.equal(
    bucketName("2026-11-26T00:00:00+05:30", "2026-11-27T00:00:00+05:30", "day", "Asia/Kolkata"),
    "Thu 26 Nov",
  );
  assert.equal(
    bucketName("2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "hour", "Europe/Berlin"),
    "Sun 25 Oct, 02:00–02:00",
  );
  assert.equal(bucketName("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", "month", "UTC"), "November 2026");
  assert.equal(date(now, "Asia/Kolkata"), "2026-11-27");
  assert.equal(bucketMark("2026-11-26T00:00:00Z", "hour", "UTC"), "26 Nov");
  assert.equal(bucketMark("2026-11-26T05:00:00Z", "hour", "UTC"), "05:00");
  assert.equal(rangeDays("2026-11-01T00:00:00Z", "2026-11-08T00:00:00Z", "UTC"), "1 Nov – 7 Nov 2026");
  assert.equal(rangeDays("2025-12-31T00:00:00Z", "2026-01-02T00:00:00Z", "UTC"), "31 Dec 2025 – 1 Jan 2026");
  assert.equal(rangeDays("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "UTC"), "1 Nov 2026");
});

test("values have names, and those without keep theirs", () => {
  assert.equal(valueName("country", "BR"), "Brazil");
  assert.equal(valueName("country", "(none)"), "Unknown");
  assert.equal(valueName("language", "pt"), "Portuguese");
  assert.equal(valueName("language", "not a tag"), "not a tag");
  assert.equal(valueName("referrer", "(other)"), "Everything else");
});

test("reasons of bots are told in words, and those of lists of one's own by the list's name", () => {
  const names: Record<string, string> = {
    rate: "Too many clicks in a minute",
    "(other)": "Everything else",
    "ua:own": "User agents of the list own",
    "several:headers:no_language": "Several signs: Headers of no browser: no language",
    "suspected:network:hosting": "Suspected: Networks of rented machines",
    "something:new": "something:new",
  };
  for (const [value, name] of Object.entries(names)) assert.equal(valueName("bot_reason", value), name);
});

test("the headline says what happened, and leaves out what is not known", () => {
  const range = { start: "2026-11-01T00:00:00Z", end: "2026-11-08T00:00:00Z", timezone: "UTC" };
  const summary: Summary = {
    clicks: 1,
    unique_clicks: 1,
    bots: 0,
    previews: 0,
    uniques: null,
    first_click: null,
    last_click: null,
  };
  assert.deepEqual(headline(USUAL, summary, range), {
    number: "1",
    rest: "click by people in the last 30 days.",
    more: [],
  });
  const comparison = {
    with: "previous",
    range,
    clicks: 80,
    unique_clicks: null,
    bots: 0,
    uniques: 1,
    clicks_change: 0.25,
    uniques_change: 0,
  };
  const more = headline(
    { ...USUAL, when: { start: "2026-11-01", end: "2026-11-07" }, filter: { dimension: "country", value: "US" } },
    { ...summary, clicks: 90, bots: 10, comparison },
    range,
  );
  assert.equal(more.rest, "clicks by people from 1 Nov – 7 Nov 2026, United States only.");
  assert.deepEqual(more.more, [
    "That is 25 % more than in as many days before.",
    "Bots are left out: 10 % of all clicks.",
  ]);
});
