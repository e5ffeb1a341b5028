import assert from "node:assert/strict";
import { test } from "node:test";
import { sharedLink } from "../src/api/access.ts";
import { Events, pause } from "../src/api/live.ts";

function taken(...pieces: string[]) {
  const events = new Events();
  return pieces.flatMap(piece => [...events.take(piece)]);
}

test("events are read however their bytes come", () => {
  const text = 'event: counts\nid: 1-2\ndata: {"clicks":2}\n\n: a comment\n\nevent: counts\ndata: a\ndata: b\n\n';
  const expected = [
    { name: "counts", id: "1-2", data: '{"clicks":2}' },
    { name: "counts", id: null, data: "a\nb" },
  ];
  assert.deepEqual(taken(text), expected);
  assert.deepEqual(taken(...text), expected);
  assert.deepEqual(taken(...text.replaceAll("\n", "\r\n")), expected);
});

test("an event that is not over is none", () => {
  assert.deepEqual(taken("event: counts\ndata: 1\n"), []);
});

test("tries come ever more slowly, and never stop", () => {
  assert.deepEqual([0, 1, 2, 10, 2000].map(pause), [500, 1000, 2000, 15_000, 15_000]);
});

test("a share token says whose link it opens, and a key says nothing", () => {
  const token = `lts_Xb81hQeVnZ0d_7_42_1798761600_${"ab".repeat(32)}`;
  assert.equal(sharedLink(token), "42");
  assert.equal(sharedLink("lt_k3Jq0aXw7RtB_secret"), null);
  assert.equal(sharedLink("lts_broken"), null);
});
