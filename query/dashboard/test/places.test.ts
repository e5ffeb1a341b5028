import assert from "node:assert/strict";
import { test } from "node:test";
import type { Breakdown, Bucket, Dimension } from "../src/api/types.ts";
import { countryName } from "../src/words/format.ts";
import { level, steps } from "../src/words/places.ts";
import { certainty, seriesInWords } from "../src/words/series.ts";

function breakdown(dimension: Dimension, values: Record<string, number>): [Dimension, Breakdown] {
  const total = Object.values(values).reduce((sum, clicks) => sum + clicks, 0);
  const list = Object.entries(values).map(([value, clicks]) => ({ value, clicks, share: clicks / total }));
  return [dimension, { dimension, total, values: list }];
}

const ALL = new Map([
  breakdown("country", { US: 100, DE: 50, "(none)": 5 }),
  breakdown("region", { "US-CA": 60, "US-TX": 30, "DE-BE": 50, "(other)": 15 }),
  breakdown("city", { "Austin, US-TX": 20, "Los Angeles, US-CA": 60, "Berlin, DE-BE": 50 }),
]);

test("a country's rows are its regions, and what is not listed is a remainder: they sum to the country", () => {
  const { dimension, values, total } = level({ dimension: "country", value: "US" }, ALL);
  assert.deepEqual([dimension, total], ["region", 100]);
  assert.deepEqual(
    values.map(({ value, clicks }) => [value, clicks]),
    [
      ["US-CA", 60],
      ["US-TX", 30],
      ["(other)", 10],
    ],
  );
});

test("a region's rows are its cities, and a city stands among its neighbours", () => {
  for (const filter of [
    { dimension: "region", value: "US-TX" } as const,
    { dimension: "city", value: "Austin, US-TX" } as const,
  ]) {
    const { values, total } = level(filter, ALL);
    assert.deepEqual(
      values.map(({ value, clicks }) => [value, clicks]),
      [
        ["Austin, US-TX", 20],
        ["(other)", 10],
      ],
    );
    assert.equal(total, 30);
  }
});

test("a filter that is no place leaves the world", () => {
  assert.equal(level({ dimension: "browser", value: "Firefox" }, ALL).dimension, "country");
  assert.equal(level({ dimension: "country", value: "(none)" }, ALL).dimension, "country");
});

test("the way out leads by region and country to the world", () => {
  const names = (value: string) => steps({ dimension: "city", value }, countryName).map(step => step.name);
  assert.deepEqual(names("Austin, US-TX"), ["World", "United States", "US-TX", "Austin"]);
  assert.deepEqual(names("Singapore, SG"), ["World", "Singapore", "Singapore"]);
});

test("only what rests on history alone is final", () => {
  const bucket = (layers: Bucket["layers"], partial: boolean): Bucket => ({
    start: "2026-11-26T00:00:00Z",
    end: "2026-11-27T00:00:00Z",
    clicks: 3,
    unique_clicks: null,
    bots: 0,
    layers,
    partial,
  });
  assert.equal(certainty(bucket(["batch"], false)), "final");
  assert.equal(certainty(bucket(["batch", "speed"], false)), "provisional");
  assert.equal(certainty(bucket(["batch"], true)), "partial");
  const words = seriesInWords([bucket(["batch"], false), bucket(["speed"], true)], "day", "UTC");
  assert.equal(words, "6 clicks in 2 bars; most in Thu 26 Nov with 3. 1 bar may still change.");
  assert.equal(seriesInWords([], "day", "UTC"), "No clicks.");
});
