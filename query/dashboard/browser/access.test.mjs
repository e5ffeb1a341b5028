// The page where a key is needed: LINKTIDE_KEY may read, ingest and export, LINKTIDE_ADMIN_KEY may read and share, and
// LINKTIDE_SHARE opens link 7.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, drawn, launch, ORIGIN, open, picture } from "./browser.mjs";

const { LINKTIDE_KEY: KEY, LINKTIDE_ADMIN_KEY: ADMIN, LINKTIDE_SHARE: SHARE } = process.env;

let browser;
before(async () => {
  browser = await launch();
  for (const link_id of ["7", "7", "8"]) {
    const body = JSON.stringify({
      link_id,
      slug: `s${link_id}`,
      title: `Link number ${link_id}`,
      user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
    });
    const sent = await fetch(`${ORIGIN}/v1/clicks`, {
      method: "POST",
      body,
      headers: { authorization: `Bearer ${KEY}` },
    });
    assert.ok(sent.ok, await sent.text());
  }
});
after(() => browser.close());

async function signIn(page, key) {
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Show the numbers" }).click();
}

/** What the page asks the API for, and how. */
function watch(page) {
  const asked = [];
  page.on("request", request => {
    if (request.url().includes("/v1/"))
      asked.push({ url: request.url(), authorization: request.headers().authorization });
  });
  return asked;
}

test("it asks for a key, keeps it for the tab alone, and puts it into no address", async () => {
  const { context, page, faults } = await open(browser);
  await page.goto(`${ORIGIN}/?interval=7d`);
  await page.getByRole("heading", { name: "Sign in with a key" }).waitFor();
  await accessible(page, "the prompt");
  await picture(page, "key");
  await signIn(page, "lt_wrong");
  await page.getByRole("alert").waitFor();
  assert.match(await page.getByRole("alert").textContent(), /was not taken/);
  const asked = watch(page);
  await signIn(page, KEY);
  await drawn(page);
  assert.equal(new URL(page.url()).search, "?interval=7d");
  await page.waitForFunction(() => document.querySelector("[data-testid=live]")?.textContent === "3");
  assert.ok(
    asked.length > 1 &&
      asked.every(({ url, authorization }) => authorization === `Bearer ${KEY}` && !url.includes(KEY)),
  );
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage)), "{}");
  await page.reload();
  await drawn(page);
  const other = await context.newPage();
  await other.goto(ORIGIN);
  await other.getByRole("heading", { name: "Sign in with a key" }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in with a key" }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.deepEqual(faults, []);
  await context.close();
});

test("an export takes the key along", async () => {
  const { context, page } = await open(browser, { acceptDownloads: true });
  await page.goto(ORIGIN);
  await signIn(page, KEY);
  await drawn(page);
  await page.getByRole("button", { name: "Export", exact: true }).click();
  await page.getByLabel("What").selectOption("links");
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Download" }).click(),
  ]);
  assert.equal(await download.failure(), null);
  await context.close();
});

test("a share link opens its link and nothing else, and its token goes to no log", async () => {
  for (const place of [`/#share=${SHARE}`, `/?share=${SHARE}&interval=7d`, `/?link=8#share=${SHARE}`]) {
    const { context, page, faults } = await open(browser);
    const asked = watch(page);
    await page.goto(ORIGIN + place);
    await page.getByRole("heading", { name: "Link number 7" }).waitFor();
    await drawn(page);
    assert.equal(await page.getByTestId("clicks").textContent(), "2");
    assert.ok(!new URL(page.url()).search.includes("lts_"), page.url());
    assert.ok(
      asked.every(({ url }) => url.includes("/links/7/") || url.endsWith("/query") || url.endsWith("/freshness")),
    );
    assert.ok(asked.every(({ url, authorization }) => authorization === `Bearer ${SHARE}` && !url.includes("lts_")));
    assert.equal(await page.getByRole("link", { name: "All links" }).count(), 0);
    assert.equal(await page.getByRole("button", { name: "Export", exact: true }).count(), 0);
    await accessible(page, "shared");
    assert.deepEqual(faults, []);
    await context.close();
  }
});

test("who may share makes a share link, and whoever has it sees that link", async () => {
  const { context, page } = await open(browser);
  await page.goto(`${ORIGIN}/?link=8&interval=7d`);
  await signIn(page, KEY);
  await drawn(page);
  await page.getByRole("button", { name: "Share", exact: true }).click();
  await page.getByRole("button", { name: "Make a share link" }).click();
  assert.match(await page.getByRole("alert").textContent(), /scope admin/);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Sign out" }).click();
  await signIn(page, ADMIN);
  await drawn(page);
  await page.getByRole("button", { name: "Share", exact: true }).click();
  await page.getByLabel("It works for").selectOption("7");
  await page.getByRole("button", { name: "Make a share link" }).click();
  const place = await page.getByLabel(/^Shows this link until/).inputValue();
  await accessible(page, "a share link was made");
  await picture(page, "share");
  await context.close();
  const visitor = await open(browser);
  await visitor.page.goto(place);
  await visitor.page.getByRole("heading", { name: "Link number 8" }).waitFor();
  await drawn(visitor.page);
  assert.equal(await visitor.page.getByTestId("clicks").textContent(), "1");
  await visitor.context.close();
});
