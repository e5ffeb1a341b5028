import assert from "node:assert/strict";
import { test } from "node:test";
import { filterText, placeDimensions, questionsOf } from "../src/api/questions.ts";
import { formatView, parseView, tabOf, USUAL, unitOf, unitsFor, type View, withTab } from "../src/state/view.ts";

test("the usual view has an empty address, and an empty address is the usual view", () => {
  assert.equal(formatView(USUAL), "");
  assert.deepEqual(parseView(""), USUAL);
});

test("every view comes back from its address", () => {
  const views: View[] = [
    { ...USUAL, link: "18446744073709551615", when: { interval: "all" }, timezone: "Asia/Kolkata", traffic: "bot" },
    { ...USUAL, when: { start: "2026-03-01", end: "2026-03-31" }, unit: "hour", compare: "none" },
    { ...USUAL, filter: { dimension: "city", value: "Austin, US-TX" }, search: "sale & more=?#", tabs: ["os"] },
    { ...USUAL, filter: { dimension: "utm_campaign", value: "-50%:\\,+ü" }, compare: "year" },
    { ...USUAL, when: { interval: "mtd" }, traffic: "all", tabs: ["utm_medium", "browser"] },
  ];
  for (const view of views) assert.deepEqual(parseView(formatView(view)), view);
});

test("what cannot be understood is taken for the usual", () => {
  const odd = [
    "?interval=31d&traffic=robots&unit=second&compare=never&tabs=x,,y",
    "?start=2026-03-31&end=2026-03-01",
    "?start=2026-02-30x&end=2026-03-01",
    "?link=abc",
    "?link=123456789012345678901",
    "?filter=country",
    "?filter=shoe:42",
    "?filter=country:",
    "?%%%",
  ];
  for (const search of odd) assert.deepEqual(parseView(search), USUAL, search);
});

test("a panel's first tab is not in the address", () => {
  const panel = ["device", "browser", "os"] as const;
  const browsers = withTab(USUAL, panel, "browser");
  assert.equal(formatView(browsers), "?tabs=browser");
  assert.equal(tabOf(browsers, panel), "browser");
  assert.deepEqual(withTab(browsers, panel, "device"), USUAL);
  assert.equal(tabOf(USUAL, panel), "device");
});

test("bars are of a length that suits the range", () => {
  const of = (start: string, end: string) => unitOf({ ...USUAL, when: { start, end } });
  assert.equal(of("2026-03-01", "2026-03-01"), "hour");
  assert.equal(of("2026-03-01", "2026-03-31"), "day");
  assert.equal(of("2026-01-01", "2026-12-31"), "week");
  assert.equal(of("2020-01-01", "2026-12-31"), "month");
  assert.equal(unitOf({ ...USUAL, unit: "hour" }), "hour");
  assert.deepEqual(unitsFor({ ...USUAL, when: { interval: "24h" } }), ["quarter", "hour"]);
  assert.deepEqual(unitsFor({ ...USUAL, when: { interval: "12mo" } }), ["day", "week", "month"]);
  // What the address asks for is offered, whether it makes sense or not.
  assert.ok(unitsFor({ ...USUAL, when: { interval: "12mo" }, unit: "hour" }).includes("hour"));
});

test("a value of a filter is written so that it is one value, and no negation", () => {
  assert.equal(filterText("Austin, US-TX"), "Austin\\, US-TX");
  assert.equal(filterText("-50"), "\\-50");
  assert.equal(filterText("a\\b"), "a\\\\b");
  assert.equal(filterText("50*"), "50\\*");
  assert.equal(filterText("(none)"), "(none)");
});

test("all parts are asked in one body, and only what rollups hold is asked under a filter", () => {
  const { body, dimensions } = questionsOf(
    { ...USUAL, link: "7", filter: { dimension: "country", value: "US" } },
    "UTC",
    "2026-11-26",
  );
  const filtered = body.questions.filter(question => question.country === "US").map(question => question.ask);
  assert.deepEqual(filtered, ["summary", "timeseries", "heatmap"]);
  assert.ok(body.questions.every(question => question.link_id === "7"));
  assert.deepEqual(dimensions.slice(0, 2), ["country", "region"]);
  assert.ok(body.questions.some(question => question.region === "US-*"));
  assert.ok(body.questions.length <= 50);
  const account = questionsOf(USUAL, "UTC", "2026-11-26").body.questions;
  assert.equal(account.at(-1)?.ask, "links");
  assert.deepEqual(placeDimensions({ dimension: "city", value: "Bonn, DE-NW" }), ["country", "region", "city"]);
});

test("all of time is compared with nothing", () => {
  const [summary] = questionsOf({ ...USUAL, when: { interval: "all" } }, "UTC", "2026-11-26").body.questions;
  assert.equal(summary?.compare, undefined);
});
