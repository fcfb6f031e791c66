// Every page, in both looks and at both widths: good to use for everybody, and pictured for those who
// want to look. The pictures are in DACAPO_PICTURES_DIR.

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, openBrowser, openPage } from "../browser.mjs";
import { furnish } from "../furnish.mjs";
import { startServer } from "../server.mjs";
import { openShop } from "../shop.mjs";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PICTURES = process.env.DACAPO_PICTURES_DIR;
const MAX_FIRST_PAGE_BYTES = 300_000;

let server, shop, browser, places;
before(async () => {
  server = await startServer();
  shop = await openShop();
  places = await furnish(server, shop);
  browser = await openBrowser();
  if (PICTURES) await mkdir(PICTURES, { recursive: true });
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await shop?.close();
});

/** Every look is pictured; rules of access are about colours and about widths, so that two looks have all of both. */
const LOOKS = [
  { colorScheme: "light", viewport: DESKTOP, isChecked: true },
  { colorScheme: "dark", viewport: DESKTOP, isChecked: false },
  { colorScheme: "light", viewport: PHONE, isChecked: false },
  { colorScheme: "dark", viewport: PHONE, isChecked: true },
];

/** What is wrong with the page as it is shown now. */
async function problems(page, isChecked) {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  const wide = overflow > 1 ? [`${overflow} px wider than the window`] : [];
  if (!isChecked) return wide;
  const found = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"] }));
  return [...wide, ...found.violations.map(({ id, nodes }) => `${id}: ${nodes[0].html} (${nodes.length})`)];
}

test("every page is accessible, in light and in dark, on a desk and on a phone", async (context) => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  for (const [name, place] of Object.entries(places)) {
    await context.test(name, async () => {
      await page.setViewportSize(DESKTOP);
      await visit.open(place);
      await page.evaluate(AXE);
      for (const { colorScheme, viewport, isChecked } of LOOKS) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize(viewport);
        await page.waitForTimeout(100);
        const look = `${colorScheme}-${viewport.width}`;
        if (PICTURES) await page.screenshot({ path: join(PICTURES, `${name}-${look}.png`), fullPage: true });
        assert.deepEqual(await problems(page, isChecked), [], look);
      }
    });
  }
  await visit.close();
});

test("the first page is small, and its figures are told", async (context) => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Network.enable");
  await cdp.send("Network.setCacheDisabled", { cacheDisabled: true });
  let bytes = 0;
  cdp.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await page.goto("/dashboard/dev/runs", { waitUntil: "commit" });
  const rows = await (await page.waitForFunction(() => document.querySelector("tbody tr") && performance.now())).jsonValue();
  await visit.settled();
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  context.diagnostic(`runs: ${bytes} bytes, first contentful paint after ${Math.round(paint)} ms, rows after ${Math.round(rows)} ms`);
  assert.ok(bytes > 0 && bytes < MAX_FIRST_PAGE_BYTES, `${bytes} bytes`);
  await visit.close();
});
