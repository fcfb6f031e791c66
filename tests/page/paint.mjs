// How soon the list of runs is seen: `node paint.mjs URL`, with the admin key in DACAPO_ADMIN_KEY. Prints JSON.
// `cargo xtask bench --only page` calls it on a server with a million runs.

import { openBrowser, openPage } from "./browser.mjs";

const VISITS = 15;
const PLACE = "/dashboard/dev/runs";

const [url] = process.argv.slice(2);
const browser = await openBrowser();
const visit = await openPage(browser, { url, adminKey: process.env.DACAPO_ADMIN_KEY });
const network = await visit.page.context().newCDPSession(visit.page);
await network.send("Network.enable");
console.log(JSON.stringify({ cold: await visits(true), warm: await visits(false) }));
await visit.close();
await browser.close();

/** The list, opened again and again: with what the browser has kept, or without. */
async function visits(isCold) {
  await network.send("Network.setCacheDisabled", { cacheDisabled: isCold });
  let bytes = 0;
  const count = ({ encodedDataLength }) => (bytes += encodedDataLength);
  network.on("Network.loadingFinished", count);
  const seen = [];
  for (let round = 0; round < VISITS; round += 1) seen.push(await open());
  network.off("Network.loadingFinished", count);
  return { bytes: Math.round(bytes / VISITS), paintMs: spread(seen, "paint"), rowsMs: spread(seen, "rows") };
}

/** When something was painted first, and when there were rows, in milliseconds after the address was entered. */
async function open() {
  await visit.page.goto(PLACE, { waitUntil: "commit" });
  const hasRows = () => document.querySelector("tbody tr") && performance.now();
  const rows = await (await visit.page.waitForFunction(hasRows)).jsonValue();
  const paint = await visit.page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  return { paint, rows };
}

function spread(seen, name) {
  const sorted = seen.map((visit) => visit[name]).sort((one, other) => one - other);
  return { p50: sorted[Math.floor(sorted.length / 2)], max: sorted.at(-1) };
}
