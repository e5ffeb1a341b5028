import assert from "node:assert/strict";
import { test } from "node:test";
import type { Freshness } from "../src/api/types.ts";
import { tellFreshness } from "../src/words/freshness.ts";

const NOW = new Date("2026-11-26T14:05:00Z");

type Speed = Freshness["layers"]["speed"]["state"];
type Batch = Freshness["layers"]["batch"]["state"];

function freshness(speed: Speed, batch: Batch, more: Partial<Freshness> = {}, age = 600): Freshness {
  const stale = speed !== "ok" || batch !== "ok";
  return {
    as_of: "2026-11-26T14:04:58Z",
    lag_seconds: 2,
    complete_through: "2026-11-26T14:00:00Z",
    stale,
    reasons: stale ? ["for operators"] : [],
    gaps: [],
    layers: {
      speed: { state: speed, as_of: "2026-11-26T14:04:58Z", held_from: "2026-11-26T14:00:00Z" },
      batch: { state: batch, publication: 3, published_at: "2026-11-26T13:55:00Z", age_seconds: age },
    },
    ...more,
  };
}

function told(of: Freshness, lostAt: Date | null = null) {
  return tellFreshness(of, { lostAt }, NOW, "Europe/Berlin");
}

test("what is fresh says as of when, by the chosen clock", () => {
  const { level, headline, sentences } = told(freshness("ok", "ok"));
  assert.equal(level, "fresh");
  assert.equal(headline, "Up to date, as of 15:04:58");
  assert.match(sentences[1] ?? "", /before 15:00 rest on history/);
});

test("without the speed layer it says which clicks are missing, and that none are lost", () => {
  const { level, headline, sentences } = told(freshness("unavailable", "ok"));
  assert.equal(level, "missing");
  assert.equal(headline, "Clicks since 15:00 are missing");
  assert.match(sentences.join(" "), /complete.*Nothing is lost/);
});

test("without history it says what is missing, and that recent clicks are there", () => {
  const { level, headline, sentences } = told(freshness("ok", "unavailable"));
  assert.equal(level, "missing");
  assert.equal(headline, "History before 15:00 is missing");
  assert.match(sentences.join(" "), /What came in since is counted/);
});

test("without both layers nothing is promised", () => {
  assert.equal(told(freshness("unavailable", "unavailable")).headline, "Numbers cannot be read");
});

test("a view that is being filled says how far it is behind", () => {
  const { level, headline } = told(freshness("rebuilding", "ok", { lag_seconds: 200 }));
  assert.deepEqual([level, headline], ["late", "Counting is 3 minutes behind"]);
});

test("gaps and reasons that are not known here are never told as fresh", () => {
  const gap = freshness("ok", "ok", { stale: true, gaps: ["partition 3: records 1 to 4 were gone"] });
  assert.deepEqual([told(gap).level, told(gap).headline], ["missing", "Some clicks are missing"]);
  const other = freshness("ok", "ok", { stale: true, reasons: ["a reason of a later version"] });
  assert.equal(told(other).level, "missing");
});

test("a service that does not answer is told before anything else, with the moment", () => {
  const { level, headline, sentences } = told(freshness("unavailable", "ok"), new Date("2026-11-26T14:04:30Z"));
  assert.deepEqual([level, headline], ["offline", "Not connected since 15:04:30"]);
  assert.match(sentences.join(" "), /goes on by itself/);
});

test("a night that did not come is mentioned, and is no outage", () => {
  const { level, sentences } = told(freshness("ok", "ok", {}, 30 * 3600));
  assert.equal(level, "fresh");
  assert.match(sentences.at(-1) ?? "", /30 hours ago.*overdue/);
});
