// A person's browser before a challenge, with scripts and without. LINKTIDE_URL is a link that puts one always.
// Prints as JSON where each visit ended, what was asked of LINK's server on the way, and what a second answer gets.

import { chromium } from "playwright-core";

const link = process.env.LINKTIDE_URL;
const executablePath = process.env.LINKTIDE_CHROMIUM ?? "/usr/bin/chromium";
const quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
const unautomated = ["--disable-blink-features=AutomationControlled"];

/** Follows LINK, does what `act` says on the page, and tells what happened. */
async function visit(args, javaScriptEnabled, act) {
  const browser = await chromium.launch({ executablePath, args: [...quiet, ...args] });
  try {
    const context = await browser.newContext({ javaScriptEnabled });
    const page = await context.newPage();
    const asked = [];
    const errors = [];
    let form;
    page.on("request", request => {
      if (new URL(request.url()).origin !== new URL(link).origin) return;
      asked.push(request.method());
      form ??= request.postData();
    });
    page.on("pageerror", error => errors.push(String(error)));
    page.on("console", message => message.type() === "error" && errors.push(message.text()));
    await page.goto(link, { waitUntil: "commit" });
    await act(page);
    await page.waitForURL(url => url.origin !== new URL(link).origin);
    const again = await context.request.post(link, {
      headers: { "content-type": "application/x-www-form-urlencoded" },
      data: form,
      maxRedirects: 0,
    });
    return { ended: page.url(), asked, errors, again: again.status() };
  } finally {
    await browser.close();
  }
}

const press = page => page.getByRole("button", { name: "Continue" }).click();
const wait = async () => {};
console.log(
  JSON.stringify({
    scripted: await visit(unautomated, true, wait),
    automated: await visit([], true, wait),
    pressed: await visit([], false, press),
  }),
);
