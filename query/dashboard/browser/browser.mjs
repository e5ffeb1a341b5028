// The real browser, and what every page is watched for: faults, refusals by its policy, and requests to anybody else.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** Where the tested service listens. */
export const ORIGIN = process.env.LINKTIDE_URL ?? "http://127.0.0.1:8080";
/** Where pictures of the page go. */
const PICTURES = process.env.LINKTIDE_PICTURES;
const PROGRAM = process.env.LINKTIDE_CHROMIUM ?? "/usr/bin/chromium";
const OPTIONS = [
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export function launch() {
  return chromium.launch({ executablePath: PROGRAM, args: OPTIONS });
}

/** A page in a browser of its own state; `faults` gathers what no page may have. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, timezoneId: "UTC", ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", error => faults.push(`error: ${error.message}`));
  page.on("request", request => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== ORIGIN && protocol !== "blob:") faults.push(`a request left the origin: ${request.url()}`);
  });
  await page.exposeFunction("reportViolation", text => faults.push(`refused by the policy: ${text}`));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", event => {
      window.reportViolation(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  return { context, page, faults };
}

/** Loads a view and waits until its chart is drawn. */
export async function show(page, place) {
  await page.goto(ORIGIN + place);
  await drawn(page);
}

export async function drawn(page) {
  await page.waitForSelector('main[aria-busy="false"] canvas');
}

export async function ask(place, init) {
  const response = await fetch(ORIGIN + place, init);
  assert.ok(response.ok, `${place}: ${response.status} ${await response.clone().text()}`);
  return response.json();
}

/** Sends a click as a redirect service does. */
export async function click(body) {
  const response = await fetch(`${ORIGIN}/v1/clicks`, { method: "POST", body: JSON.stringify(body) });
  assert.ok(response.ok, `${response.status} ${await response.text()}`);
}

/** No serious fault of accessibility, by axe. */
export async function accessible(page, what) {
  // The page's policy lets no script be put into it; the debugger evaluates this one beside the page's own.
  await page.evaluate(AXE);
  const serious = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
    const told = ({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(node => node.html.slice(0, 200)) });
    return violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(told);
  });
  assert.deepEqual(serious, [], what);
}

export async function picture(page, name, fullPage = false) {
  if (!PICTURES) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage });
}
