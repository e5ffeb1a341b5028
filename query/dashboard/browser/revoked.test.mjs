// A share link that was taken back: LINKTIDE_SHARE.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accessible, launch, ORIGIN, open, picture } from "./browser.mjs";

test("a share link that was taken back says so, and asks for no key", async () => {
  const browser = await launch();
  const { page, faults } = await open(browser);
  await page.goto(`${ORIGIN}/#share=${process.env.LINKTIDE_SHARE}`);
  await page.getByRole("heading", { name: "This share link is over" }).waitFor();
  assert.equal(await page.getByLabel("API key").count(), 0);
  await accessible(page, "taken back");
  await picture(page, "revoked");
  assert.deepEqual(faults, []);
  await browser.close();
});
