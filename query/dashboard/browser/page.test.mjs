// The page in a real browser, over a real service with some days of the demo's clicks: LINKTIDE_URL says where.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, ask, click, drawn, launch, ORIGIN, open, picture, show } from "./browser.mjs";

let browser;
/** A page of a link that nobody clicks, open from the beginning: what it asks for while nothing happens. */
const idle = { posts: 0, kept: 0, page: null };
before(async () => {
  browser = await launch();
  const { page } = await open(browser);
  page.on("response", response => {
    if (response.url().endsWith("/v1/query")) idle.posts++;
    if (response.url().includes("/summary") && response.status() === 304) idle.kept++;
  });
  // A range that ends now moves on every quarter of an hour, and is asked for again then.
  await page.goto(`${ORIGIN}/?link=424242&start=2026-01-01&end=2026-01-05`);
  idle.page = page;
});
after(() => browser.close());

/** A page that is closed at the end, and had no faults. */
async function withPage(options, run) {
  const { context, page, faults } = await open(browser, options);
  try {
    await run(page, context);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

function number(text) {
  return Number(text.replaceAll(",", ""));
}

const rows = selector => document =>
  document.locator(selector).evaluateAll(items => items.map(item => [item.dataset.value, Number(item.dataset.clicks)]));

/** The cells of the table below the series, line by line. */
async function seriesTable(page) {
  await page.locator("details summary").click();
  return page
    .locator("[data-testid=series] tbody tr")
    .evaluateAll(lines => lines.map(line => [...line.querySelectorAll("td")].map(cell => cell.textContent)));
}

test("what is drawn is what the API says", async () => {
  const asked = "interval=7d&timezone=Asia/Kolkata&traffic=all";
  await withPage({}, async page => {
    await show(page, `/?${asked}`);
    const of = place => ask(`/v1/account/${place}${place.includes("?") ? "&" : "?"}${asked}`);

    const { results: summary, meta } = await of("summary?compare=previous");
    assert.equal(number(await page.getByTestId("clicks").getAttribute("title")), summary.clicks);
    assert.equal(number(await page.getByTestId("bots").getAttribute("title")), summary.bots);
    assert.ok((await page.getByTestId("headline").textContent()).startsWith(summary.clicks.toLocaleString("en")));
    assert.ok(!meta.freshness.stale && (await page.getByTestId("freshness").textContent()).startsWith("Up to date"));

    const { results: series } = await of("timeseries?unit=day");
    const shown = await seriesTable(page);
    assert.deepEqual(
      shown.map(cells => cells.slice(0, 2).map(number)),
      series.map(bucket => [bucket.clicks, bucket.bots]),
    );
    const states = shown.map(cells => cells.at(-1));
    // Of the six days before and today, history alone holds the former.
    assert.deepEqual(new Set(states.slice(0, 5)), new Set(["Final"]));
    assert.equal(states.at(-1), "Not over yet, or incomplete");

    const { results: heatmap } = await of("heatmap");
    const cells = await page
      .locator("[data-testid=heatmap] tbody td")
      .evaluateAll(all => all.map(cell => Number(cell.dataset.clicks)));
    assert.deepEqual(cells, heatmap.hours.flat());

    for (const [card, tabs] of [
      ["referrers", { Referrer: "referrer", Channel: "referrer_class" }],
      ["technology", { Device: "device", Browser: "browser", System: "os", Language: "language" }],
      ["campaigns", { Source: "utm_source", Medium: "utm_medium", Campaign: "utm_campaign" }],
      ["triggers", { "": "trigger" }],
      ["bots", { "": "bot_reason" }],
    ])
      for (const [tab, dimension] of Object.entries(tabs)) {
        const panel = page.locator(`[data-card=${card}]`);
        if (tab) await panel.getByRole("button", { name: tab, exact: true }).click();
        const traffic = dimension === "bot_reason" ? "bot" : "all";
        const place = `/v1/account/breakdown?by=${dimension}&limit=8&${asked.replace("traffic=all", `traffic=${traffic}`)}`;
        const [breakdown] = (await ask(place)).results;
        assert.deepEqual(
          await rows(`[data-card=${card}] ol.bars > li`)(page),
          breakdown.values.map(value => [value.value, value.clicks]),
          dimension,
        );
      }

    const [countries] = (await of("breakdown?by=country&limit=300")).results;
    await page.waitForSelector(".map path");
    const map = new Map(
      await page
        .locator(".map [data-country]")
        .evaluateAll(shapes => shapes.map(shape => [shape.dataset.country, Number(shape.dataset.clicks)])),
    );
    for (const { value, clicks } of countries.values.filter(({ value }) => !value.startsWith("(")))
      assert.equal(map.get(value), clicks, value);

    const { results: links } = await ask(`/v1/links?limit=10&${asked}`);
    const listed = await page
      .locator("[data-testid=links] tbody tr")
      .evaluateAll(all => all.map(row => [row.dataset.link, Number(row.dataset.clicks)]));
    assert.deepEqual(
      listed,
      links.links.map(link => [link.link_id, link.clicks]),
    );
    await picture(page, "account", true);
  });
});

test("people's clicks without repeats stand beside their clicks, and visitors say how they were counted", async () => {
  const asked = "interval=7d&timezone=UTC";
  await withPage({}, async page => {
    await show(page, `/?${asked}`);
    const { results: summary } = await ask(`/v1/account/summary?${asked}`);
    assert.ok(summary.unique_clicks > 0 && summary.unique_clicks <= summary.clicks);
    assert.equal(number(await page.getByTestId("unique").textContent()), summary.unique_clicks);
    const { method, estimate } = summary.uniques;
    const visitors = await page.getByTestId("visitors").textContent();
    assert.ok(visitors.startsWith(method === "exact" ? "= " : "≈ "), visitors);
    if (estimate < 10_000) assert.equal(number(visitors.slice(2)), estimate);

    const { results: series } = await ask(`/v1/account/timeseries?unit=day&${asked}`);
    const shown = await seriesTable(page);
    assert.deepEqual(
      shown.map(cells => cells.slice(0, 2).map(number)),
      series.map(bucket => [bucket.clicks, bucket.unique_clicks]),
    );
    const { results: links } = await ask(`/v1/links?limit=10&${asked}`);
    const listed = await page
      .locator("[data-testid=links] tbody tr")
      .evaluateAll(all =>
        all.map(row => [row.dataset.link, Number(row.querySelector("[data-unique]").dataset.unique)]),
      );
    assert.deepEqual(
      listed,
      links.links.map(link => [link.link_id, link.unique_clicks]),
    );
    // A link of few visitors, and what nobody knows under a filter.
    await page.goto(`${ORIGIN}/?${asked}&link=424242`);
    await page.locator("[data-testid=visitors]", { hasText: "= 0" }).waitFor();
    await show(page, `/?${asked}&filter=device:mobile`);
    assert.equal(await page.getByTestId("unique").count(), 0);
    assert.equal(await page.getByTestId("visitors").textContent(), "–");
  });
});

test("what may still change is told apart from what is final", async () => {
  await withPage({}, async page => {
    await show(page, "/?interval=24h&timezone=UTC");
    await page.locator("details summary").click();
    const shown = await page
      .locator("[data-testid=series] tbody tr")
      .evaluateAll(lines => lines.map(line => line.querySelector("td:last-child").textContent));
    const { results } = await ask("/v1/account/timeseries?interval=24h&timezone=UTC&unit=hour");
    const expected = results.map(({ partial, layers }) => {
      if (partial) return "Not over yet, or incomplete";
      return layers.includes("speed") ? "Provisional, may still change" : "Final";
    });
    assert.deepEqual(shown, expected);
    const legend = await page.locator(".legend li").allTextContents();
    for (const state of new Set(expected)) assert.ok(legend.includes(state), state);
  });
});

test("the bars of the chart are as high as their counts", async () => {
  await withPage({}, async page => {
    const day = days => new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);
    const asked = `start=${day(6)}&end=${day(2)}`;
    await show(page, `/?${asked}&timezone=UTC&compare=none`);
    const { results } = await ask(`/v1/account/timeseries?${asked}&timezone=UTC&unit=day`);
    const heights = async () =>
      page.evaluate(() => {
        const canvas = document.querySelector("canvas");
        const probe = document.createElement("canvas").getContext("2d");
        probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--people");
        probe.fillRect(0, 0, 1, 1);
        const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
        const { width, height, data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const near = at =>
          Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue) < 12;
        const columns = Array.from({ length: width }, (_, x) => {
          let filled = 0;
          for (let y = 0; y < height; y++) if (near((y * width + x) * 4)) filled++;
          return filled;
        });
        const bars = [];
        columns.forEach((filled, x) => {
          if (filled < 4) return;
          if (columns[x - 1] < 4) bars.push(0);
          bars[bars.length - 1] = Math.max(bars[bars.length - 1], filled);
        });
        return bars;
      });
    let bars = [];
    for (const deadline = Date.now() + 5000; bars.length !== results.length && Date.now() < deadline; )
      bars = await heights();
    assert.equal(bars.length, results.length, `${bars}`);
    const most = Math.max(...results.map(bucket => bucket.clicks));
    const highest = Math.max(...bars);
    results.forEach((bucket, at) => {
      const expected = (bucket.clicks / most) * highest;
      assert.ok(Math.abs(bars[at] - expected) <= 2, `bar ${at}: ${bars[at]} pixels, expected ${expected}`);
    });
  });
});

/** A click by the collector, or by the redirector behind a QR code. */
async function anyClick(round) {
  if (round % 2 === 0) return click({ link_id: "1", ip: "240.0.0.9", user_agent: FIREFOX });
  const { status } = await fetch(`${ORIGIN}/q/lighthouse-1`, {
    redirect: "manual",
    headers: { "user-agent": FIREFOX },
  });
  assert.equal(status, 302);
}
const FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";

test("a click appears within three seconds, without a reload", async () => {
  await withPage({}, async page => {
    await show(page, "/?link=1&interval=24h");
    await page.evaluate(() => {
      window.same = true;
    });
    await page.getByTestId("live").waitFor();
    const total = async () => number(await page.getByTestId("clicks").getAttribute("title"));
    const times = [];
    for (let round = 0; round < 7; round++) {
      const [clicks, live] = [await total(), number(await page.getByTestId("live").textContent())];
      const sent = performance.now();
      await anyClick(round);
      await page.waitForFunction(
        ([clicks, live]) => {
          const read = (name, of) => Number(of(document.querySelector(`[data-testid=${name}]`)).replaceAll(",", ""));
          return read("clicks", one => one.title) > clicks && read("live", one => one.textContent) > live;
        },
        [clicks, live],
      );
      times.push(Math.round(performance.now() - sent));
      assert.equal(await total(), clicks + 1);
    }
    assert.ok(await page.evaluate(() => window.same), "the page was loaded again");
    console.log(`measured: a click was shown after ${times.join(", ")} ms`);
    // A machine that does other work as well may take its time now and then.
    assert.ok(times.sort((one, other) => one - other)[3] <= 3000, `${times}`);
  });
});

test("a click that came between the numbers and the stream is not overlooked", async () => {
  await withPage({}, async page => {
    let go;
    const held = new Promise(resolve => {
      go = resolve;
    });
    await page.route("**/live?**", async route => {
      await held;
      await route.continue();
    });
    await show(page, "/?link=3&interval=24h&traffic=all");
    const clicks = number(await page.getByTestId("clicks").getAttribute("title"));
    await click({ link_id: "3" });
    const counted = async () => (await ask("/v1/links/3/summary?interval=24h&traffic=all")).results.clicks > clicks;
    while (!(await counted()));
    assert.equal(number(await page.getByTestId("clicks").getAttribute("title")), clicks);
    go();
    await page.waitForFunction(
      clicks => Number(document.querySelector("[data-testid=clicks]").title.replaceAll(",", "")) > clicks,
      clicks,
      // The look at the ETag, which would find it as well, comes later than that.
      { timeout: 15_000 },
    );
  });
});

test("no serious fault of accessibility, in light and dark, on a desk and on a phone", async () => {
  for (const colorScheme of ["light", "dark"])
    for (const viewport of [
      { width: 1280, height: 900 },
      { width: 390, height: 844 },
    ])
      await withPage({ colorScheme, viewport }, async page => {
        const what = `${colorScheme} ${viewport.width}`;
        await show(page, "/?interval=7d&traffic=all&filter=country:US");
        await page.waitForSelector(".map path");
        await page.getByTestId("freshness").click();
        await page.locator("details summary").click();
        await accessible(page, what);
        for (const dialog of ["Share", "Export"]) {
          await page.getByRole("button", { name: dialog, exact: true }).click();
          await accessible(page, `${what} ${dialog}`);
          await page.keyboard.press("Escape");
        }
        await show(page, "/?link=1&interval=7d");
        await accessible(page, `${what} of a link`);
        await picture(page, `link-${colorScheme}-${viewport.width}`, true);
      });
});

test("the first chart is there within a second, and the page is small", async () => {
  const { context, page } = await open(browser);
  const times = [];
  for (let load = 0; load < 5; load++) {
    await context.clearCookies();
    await show(page, "/");
    times.push(Math.round(await page.evaluate(() => performance.getEntriesByName("linktide-chart")[0].startTime)));
  }
  const sizes = await page.evaluate(() =>
    performance
      .getEntriesByType("resource")
      .filter(({ name }) => name.includes("/assets/"))
      .map(({ encodedBodySize }) => encodedBodySize),
  );
  const size = sizes.reduce((sum, bytes) => sum + bytes, 0);
  console.log(
    `measured: the first chart was drawn after ${times.join(", ")} ms; ${sizes.length} files of ${size} bytes`,
  );
  assert.ok(Math.min(...times) <= 1000, `${times}`);
  assert.ok(size > 0 && size <= 350 * 1024, `${size}`);
  await context.close();
});

test("everything is reached by keyboard, and where the focus is can be seen", async () => {
  await withPage({}, async page => {
    await show(page, "/");
    await page.waitForSelector(".map path");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), "Skip to the numbers");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    const seen = new Set();
    const unseen = [];
    const focusables = await page.evaluate(() => {
      const all = [...document.querySelectorAll("a[href], button, select, input, summary, [tabindex='0']")];
      const open = all.filter(one => !one.disabled && one.checkVisibility());
      for (const [at, one] of open.entries()) one.setAttribute("data-stop", String(at));
      return open.length;
    });
    for (let step = 0; step < focusables + 20 && seen.size < focusables; step++) {
      await page.keyboard.press("Tab");
      const [stop, outline] = await page.evaluate(() => {
        const { dataset } = document.activeElement;
        return [dataset.stop, getComputedStyle(document.activeElement).outlineStyle];
      });
      if (stop === undefined) continue;
      seen.add(stop);
      if (outline === "none") unseen.push(stop);
    }
    assert.equal(seen.size, focusables);
    assert.deepEqual(unseen, []);

    // Into a link, back out, and through a dialog, by keys alone.
    await page.locator("[data-testid=links] tbody a").first().focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector(".back");
    await drawn(page);
    assert.match(page.url(), /link=\d+/);
    await page.goBack();
    await page.waitForSelector("[data-testid=links]");
    await page.getByRole("button", { name: "Share", exact: true }).focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector("dialog[open]");
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog", { state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Share");
    await page.getByTestId("freshness").locator("xpath=..").focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector(".popover");
    await page.keyboard.press("Escape");
    await page.waitForSelector(".popover", { state: "detached" });
  });
});

test("on a phone nothing runs over the edge, and everything can be hit", async () => {
  await withPage({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }, async page => {
    for (const place of ["/?traffic=all", "/?link=1&interval=24h", "/?start=2020-01-01&end=2020-01-02"]) {
      await page.goto(ORIGIN + place);
      await page.waitForSelector("main[aria-busy=false]");
      const [wide, small] = await page.evaluate(() => [
        document.documentElement.scrollWidth,
        [...document.querySelectorAll("button, select, input")]
          .filter(one => one.checkVisibility() && one.getBoundingClientRect().height < 24)
          .map(one => one.outerHTML),
      ]);
      assert.equal(wide, 360, place);
      assert.deepEqual(small, [], place);
    }
    await show(page, "/?link=1&interval=7d");
    await picture(page, "phone");
  });
});

test("the address is the state: it survives a reload, and the way back leads back", async () => {
  await withPage({}, async page => {
    await show(page, "/");
    await page.getByRole("button", { name: "7d", exact: true }).click();
    await page.getByRole("button", { name: "All", exact: true }).click();
    await page.getByLabel("Time zone").selectOption("Asia/Tokyo");
    await page.getByLabel("Compared with").selectOption("none");
    await page.locator("[data-card=technology]").getByRole("button", { name: "Browser" }).click();
    await page.locator("ol[data-dimension=country] li[data-value=US] button").click();
    await page.waitForSelector("ol[data-dimension=region]");
    await drawn(page);
    const place = new URL(page.url());
    assert.equal(
      place.search,
      "?interval=7d&timezone=Asia%2FTokyo&traffic=all&compare=none&filter=country%3AUS&tabs=browser",
    );
    const told = () => page.getByTestId("headline").textContent();
    assert.match(await told(), /United States only/);
    await page.reload();
    await drawn(page);
    assert.match(await told(), /clicks by people and bots in the last 7 days, United States only/);
    await page.locator("ol[data-dimension=region] li button").first().click();
    await page.waitForSelector("ol[data-dimension=city]");
    await page.goBack();
    await page.waitForSelector("ol[data-dimension=region]");
    await page.goBack();
    await page.waitForSelector("ol[data-dimension=country]");
    assert.doesNotMatch(await told(), /only/);
  });
});

test("places sum up on every level, and the filter narrows the counts to them", async () => {
  await withPage({}, async page => {
    await show(page, "/?interval=7d&timezone=UTC");
    const sum = async dimension => {
      const all = page.getByRole("button", { name: /^Show all/ });
      if (await all.count()) await all.click();
      return (await rows(`ol[data-dimension=${dimension}] > li`)(page)).reduce((sum, [, clicks]) => sum + clicks, 0);
    };
    const total = async () => number(await page.getByTestId("clicks").getAttribute("title"));
    assert.equal(await sum("country"), await total());
    for (const [from, to] of [
      ["country", "region"],
      ["region", "city"],
    ]) {
      const first = page.locator(`ol[data-dimension=${from}] > li`).first();
      const clicks = Number(await first.getAttribute("data-clicks"));
      await first.locator("button").click();
      await page.waitForSelector(`main[aria-busy=false] ol[data-dimension=${to}]`);
      assert.deepEqual([await total(), await sum(to)], [clicks, clicks], to);
    }
  });
});

test("links are found and paged", async () => {
  await withPage({}, async page => {
    await show(page, "/?interval=7d&traffic=all&timezone=UTC");
    const ids = () => page.locator("[data-testid=links] tbody tr").evaluateAll(all => all.map(row => row.dataset.link));
    const first = await ids();
    await page.getByRole("button", { name: "Next" }).click();
    await page.waitForFunction(
      known => document.querySelector("[data-testid=links] tbody tr").dataset.link !== known,
      first[0],
    );
    const second = await ids();
    assert.equal(new Set([...first, ...second]).size, first.length + second.length);
    await page.getByRole("button", { name: "Back", exact: true }).click();
    await page.waitForFunction(
      known => document.querySelector("[data-testid=links] tbody tr").dataset.link === known,
      first[0],
    );
    await page.getByPlaceholder("Find a link").fill("lighthouse-1");
    await page.waitForURL(/search=lighthouse-1/);
    const found = (await ask("/v1/links?interval=7d&traffic=all&timezone=UTC&limit=10&search=lighthouse-1")).results;
    await page.waitForFunction(
      count => document.querySelectorAll("[data-testid=links] tbody tr").length === count,
      found.links.length,
    );
    assert.deepEqual(
      await ids(),
      found.links.map(link => link.link_id),
    );
    await page.getByPlaceholder("Find a link").fill("no link is called that");
    await page.getByText("No link with clicks in this range is called that.").waitFor();
  });
});

test("there is a page for each state: nothing yet, nothing in the range, refused, loading", async () => {
  await withPage({}, async page => {
    await page.goto(`${ORIGIN}/?link=987654321`);
    await page.getByText("No click yet").waitFor();
    await accessible(page, "no click yet");
    await picture(page, "empty");
    await page.goto(`${ORIGIN}/?start=2020-01-01&end=2020-01-02`);
    await page.getByText("Nobody clicked in this range").waitFor();
    await page.getByRole("button", { name: "Show all time" }).click();
    await drawn(page);
    await page.goto(`${ORIGIN}/?timezone=Mars/Olympus`);
    await page.getByTestId("refusal").waitFor();
    assert.match(await page.getByTestId("refusal").textContent(), /Mars\/Olympus/);
    await accessible(page, "refused");
    await page.getByRole("button", { name: "Show the last 30 days" }).click();
    await drawn(page);
  });
  await withPage({}, async page => {
    let go;
    const held = new Promise(resolve => {
      go = resolve;
    });
    await page.route("**/v1/query", async route => {
      await held;
      await route.continue();
    });
    await page.goto(ORIGIN);
    await page.getByTestId("skeleton").waitFor();
    await accessible(page, "loading");
    await picture(page, "loading");
    go();
    await drawn(page);
  });
});

test("without a connection the numbers stay and say as of when; with one it goes on by itself", async () => {
  await withPage({}, async (page, context) => {
    await show(page, "/?link=2&interval=24h&traffic=all");
    const before = await page.getByTestId("clicks").textContent();
    await context.setOffline(true);
    await page.waitForFunction(
      () => document.querySelector("[data-testid=freshness]").textContent.startsWith("Not connected since"),
      null,
      { timeout: 15_000 },
    );
    assert.equal(await page.getByTestId("clicks").textContent(), before);
    await accessible(page, "offline");
    await picture(page, "offline");
    await context.setOffline(false);
    await page.waitForFunction(
      () => document.querySelector("[data-testid=freshness]").textContent.startsWith("Up to date"),
      null,
      { timeout: 30_000 },
    );
    assert.equal(await page.getByTestId("notice").count(), 0);
  });
});

test("an export is the file that the API gives, and the share dialog gives the address", async () => {
  await withPage({ acceptDownloads: true }, async page => {
    await show(page, "/?interval=7d&timezone=UTC");
    await page.getByRole("button", { name: "Export", exact: true }).click();
    await page.getByLabel("What").selectOption("links");
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "Download" }).click(),
    ]);
    const chunks = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk);
    const place = "/v1/account/export?of=links&format=csv&interval=7d&timezone=UTC&traffic=human";
    const expected = await fetch(ORIGIN + place).then(response => response.text());
    assert.equal(Buffer.concat(chunks).toString(), expected);
    assert.match(download.suggestedFilename(), /\.csv$/);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Share", exact: true }).click();
    assert.equal(
      await page.getByLabel("For whoever reaches this service").inputValue(),
      `${ORIGIN}/?interval=7d&timezone=UTC`,
    );
  });
});

test("an export that is too large for a download is made in the background and saved when it is whole", async () => {
  await withPage({ acceptDownloads: true }, async page => {
    let job;
    page.on("response", async response => {
      if (/\/v1\/exports\/[^/]+$/.test(response.url())) job = await response.json();
    });
    await show(page, "/?interval=30d&timezone=UTC&traffic=all");
    await page.getByRole("button", { name: "Export", exact: true }).click();
    await page.getByRole("button", { name: "Download" }).click();
    const background = page.getByRole("button", { name: "Make it in the background" });
    await background.waitFor();
    assert.match(await page.getByTestId("export").textContent(), /3,?000 rows/);
    await accessible(page, "too large for a download");
    const [download] = await Promise.all([page.waitForEvent("download"), background.click()]);
    const chunks = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk);
    await page.getByText("All files are saved.").waitFor();
    assert.equal(job.state, "done");
    assert.deepEqual(
      job.result.files.map(file => file.name),
      [download.suggestedFilename()],
    );
    const [header, ...clicks] = Buffer.concat(chunks).toString().trimEnd().split("\n");
    assert.ok(header.includes("click_id") && clicks.length > 3000, `${clicks.length} behind ${header}`);
    assert.equal(clicks.length, job.result.files[0].rows);
  });
});

/** The button copies the address, as whoever pastes it sees. */
async function copies(page) {
  await show(page, "/?interval=7d&timezone=UTC");
  await page.getByRole("button", { name: "Share", exact: true }).click();
  await page.getByRole("button", { name: "Copy", exact: true }).click();
  await page.getByRole("button", { name: "Copied", exact: true }).waitFor();
  const place = await page.getByLabel("For whoever reaches this service").inputValue();
  await page.keyboard.press("Escape");
  const field = page.getByRole("searchbox");
  await field.focus();
  await page.keyboard.press("Control+V");
  assert.equal(await field.inputValue(), place);
}

test("the share dialog copies the address, also where the browser lends no clipboard to the page", async () => {
  await withPage({ permissions: ["clipboard-read", "clipboard-write"] }, copies);
  await withPage({}, async page => {
    // As on a page that came without TLS.
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "clipboard", { value: undefined }));
    await copies(page);
  });
});

test("clicks that are suspected count as people's, and stand in a list by what speaks against them", async () => {
  const agent = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";
  const sent = { link_id: "616", slug: "suspects", user_agent: agent, ip: "203.0.113.16" };
  for (const more of [{}, { signals: { bot_score: 60 } }, { signals: { challenge: "unanswered" } }])
    await click({ ...sent, ...more });
  const asked = "interval=24h&timezone=UTC";
  await withPage({}, async page => {
    await show(page, `/?link=616&${asked}`);
    const listed = page.locator("[data-card=suspected] ol.bars > li");
    await page.waitForFunction(() => document.querySelectorAll("[data-card=suspected] ol.bars > li").length === 2);
    assert.equal(await page.getByTestId("clicks").textContent(), "3");
    const place = `/v1/links/616/breakdown?by=bot_reason&bot_reason=suspected:*&${asked}`;
    const [reasons] = (await ask(place)).results;
    assert.deepEqual(
      await rows("[data-card=suspected] ol.bars > li")(page),
      reasons.values.map(({ value, clicks }) => [value, clicks]),
    );
    assert.deepEqual(reasons.values.map(({ value, clicks }) => [value, clicks]).sort(), [
      ["suspected:challenge:unanswered", 1],
      ["suspected:signal:edge_score", 1],
    ]);
    await listed.first().getByRole("button").click();
    await page.waitForFunction(() => document.querySelector("[data-testid=clicks]").textContent === "1");
    assert.match(decodeURIComponent(new URL(page.url()).search), /filter=bot_reason:suspected:/);
    assert.ok(!page.url().includes("traffic="), "they are people's");
  });
});

test("a zone of the browser that the service does not know is no obstacle", async () => {
  await withPage({}, async page => {
    await page.addInitScript(() => {
      const own = Intl.DateTimeFormat.prototype.resolvedOptions;
      Intl.DateTimeFormat.prototype.resolvedOptions = function () {
        return { ...own.call(this), timeZone: "Mars/Olympus" };
      };
    });
    await show(page, "/");
    assert.equal(await page.getByLabel("Time zone").inputValue(), "UTC");
  });
});

test("colours follow the system, until somebody chooses, and are there before the first paint", async () => {
  await withPage({ colorScheme: "dark" }, async page => {
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await show(page, "/");
    const dark = await background();
    await page.getByRole("button", { name: "Use light colours" }).click();
    const light = await background();
    assert.notEqual(dark, light);
    await page.reload();
    await drawn(page);
    assert.equal(await background(), light);
  });
});

test("a page on which nothing happens asks for no numbers again, and looks for changes without a body", async () => {
  const deadline = Date.now() + 60_000;
  while (idle.kept === 0) {
    assert.ok(Date.now() < deadline, "its ETag was never compared");
    await idle.page.waitForResponse(response => response.url().includes("/summary"), { timeout: 60_000 });
  }
  assert.equal(idle.posts, 1);
});
