// Keeps the page open in a browser, for a test that stops and starts what is behind it. Each line that comes in names what
// the badge has to say, a text that has to stand on the page, or a number that clicks have to exceed; when they do, what is
// shown goes out as a line of JSON, with how long that took.

import { createInterface } from "node:readline";
import { accessible, drawn, launch, ORIGIN, open, picture } from "./browser.mjs";

/** How long the badge may take. */
const PATIENCE = 90_000;

const browser = await launch();
const { page, faults } = await open(browser);
let loads = 0;
page.on("load", () => loads++);
await page.goto(`${ORIGIN}/?traffic=all&interval=all&compare=none`);

const text = async id => ((await page.getByTestId(id).count()) ? page.getByTestId(id).textContent() : null);

async function shown() {
  const clicks = page.getByTestId("clicks");
  return {
    badge: await text("freshness"),
    notice: await text("notice"),
    clicks: (await clicks.count()) ? Number((await clicks.getAttribute("title")).replaceAll(",", "")) : null,
    loads,
    faults,
  };
}

async function exceeded(clicks) {
  await page.waitForFunction(
    clicks => Number(document.querySelector("[data-testid=clicks]")?.title.replaceAll(",", "")) > clicks,
    clicks,
    { timeout: PATIENCE },
  );
}

/** The badge changes with the numbers that it speaks of. */
async function settled(badge) {
  await page.waitForFunction(
    badge => document.querySelector("[data-testid=freshness]")?.textContent.includes(badge),
    badge,
    { timeout: PATIENCE },
  );
  await drawn(page);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { badge, text: words, above, picture: name } = JSON.parse(line);
  const asked = performance.now();
  try {
    if (badge) await settled(badge);
    else if (words) await page.getByText(words).first().waitFor({ timeout: PATIENCE });
    else await exceeded(above);
    const took = Math.round(performance.now() - asked);
    await accessible(page, line);
    if (name) await picture(page, name);
    console.log(JSON.stringify({ took, ...(await shown()) }));
  } catch (error) {
    console.log(JSON.stringify({ never: line, error: String(error), ...(await shown()) }));
  }
}
await browser.close();
