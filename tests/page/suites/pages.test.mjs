// Every page, in both looks and at both widths: good to use for everybody, and pictured for those who
// want to look. The pictures are in DACAPO_PICTURES_DIR.

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PICTURES = process.env.DACAPO_PICTURES_DIR;
const MAX_FIRST_PAGE_BYTES = 300_000;

let server, browser, places;
before(async () => {
  server = await startServer();
  places = await furnish(server);
  browser = await openBrowser();
  if (PICTURES) await mkdir(PICTURES, { recursive: true });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Puts something on every page, and answers with their places by name. */
async function furnish(server) {
  await server.deploy("echo_v1", { name: "echo" });
  await server.deploy("script");
  const version = await server.deploy("echo_v2", { name: "echo", query: "&skipPromotion=true" });
  for (const n of [1, 2, 3]) await server.call("echo", { n }, { tags: ["even", "odd"].slice(n % 2) });
  const failed = await server.call("leaf", { fail: "no prices in CHF" });
  const spans = [{ log: "begins" }, { span: [{ log: "within" }, { child: { task: "leaf", payload: { echo: 1 } } }, { sleep_ms: 20 }] }, { wait_ms: 30 }];
  const run = await server.call("script", spans, { tags: ["trace"] });
  const backtest = await server.send("POST", "/api/v1/backtests", { version, filter: { taskIdentifier: "echo" } });
  const bulk = await server.send("POST", "/api/v1/bulk-actions", { action: "replay", name: "again", runIds: [failed.id] });
  await server.send("POST", "/api/v1/schedules", { task: "echo", cron: "0 9 * * 1", timezone: "Europe/Vienna", deduplicationKey: "weekly" });
  await server.send("POST", "/api/v1/projects/p/envvars/dev", { name: "SHOP_URL", value: "https://shop.example" });
  const token = await server.send("POST", "/api/v1/waitpoints/tokens", { tags: ["approval"], timeout: "1h" });
  const batch = await server.send("POST", "/api/v3/batches", { runCount: 1 });
  return {
    overview: "",
    runs: "/runs",
    run: `/runs/${run.id}`,
    failed: `/runs/${failed.id}`,
    comparison: `/runs/${failed.id}/replays/sandbox`,
    errors: "/errors",
    backtests: "/backtests",
    backtest: `/backtests/${backtest.id}`,
    bulk: "/bulk",
    "bulk-action": `/bulk/${bulk.id}`,
    batches: "/batches",
    batch: `/batches/${batch.id}`,
    tasks: "/tasks",
    task: "/tasks/echo",
    deployments: "/deployments",
    deployment: `/deployments/${version}`,
    queues: "/queues",
    schedules: "/schedules",
    tokens: "/tokens",
    token: `/tokens/${token.id}`,
    environments: "/environments",
    variables: "/variables",
  };
}

for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [DESKTOP, PHONE]) {
    test(`every page is accessible: ${colorScheme}, ${viewport.width} px`, async () => {
      const visit = await openPage(browser, server, { viewport, colorScheme });
      const { page } = visit;
      const problems = [];
      for (const [name, place] of Object.entries(places)) {
        await visit.open(place);
        await page.waitForTimeout(150);
        if (PICTURES) await page.screenshot({ path: join(PICTURES, `${name}-${colorScheme}-${viewport.width}.png`), fullPage: true });
        await page.evaluate(AXE);
        const found = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"] }));
        for (const { id, nodes } of found.violations) problems.push(`${name}: ${id}: ${nodes[0].html} (${nodes.length})`);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (overflow > 1) problems.push(`${name}: ${overflow} px wider than the window`);
      }
      assert.deepEqual(problems, []);
      await visit.close();
    });
  }
}

test("the first page is small, and its figures are told", async (context) => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Network.enable");
  await cdp.send("Network.setCacheDisabled", { cacheDisabled: true });
  let bytes = 0;
  cdp.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await visit.open("/runs");
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  context.diagnostic(`runs: ${bytes} bytes, first contentful paint after ${Math.round(paint)} ms`);
  assert.ok(bytes > 0 && bytes < MAX_FIRST_PAGE_BYTES, `${bytes} bytes`);
  await visit.close();
});
