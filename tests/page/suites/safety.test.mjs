// What users write is text, wherever it is shown.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";

const MARKUP = `"'><img src=x onerror="alert(1)"><script>alert(2)</script><svg onload=alert(3)>{{7*7}}`;
const LINK = "javascript:alert(4)";

let server, browser;
before(async () => {
  server = await startServer();
  await server.deploy("script");
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("markup in every field stays text on every page", async () => {
  const tags = [MARKUP.slice(0, 100), LINK];
  const metadata = { [MARKUP]: MARKUP, link: LINK };
  const echoed = await server.call("leaf", { echo: { [MARKUP]: [MARKUP, LINK] } }, { tags, metadata });
  const failed = await server.call("leaf", { fail: MARKUP }, { tags });
  const logged = await server.call("script", [{ log: MARKUP }, { metadata }, { stream: { name: "s", chunks: [MARKUP] } }]);
  await server.send("POST", "/api/v1/projects/p/envvars/dev", { name: "NAME", value: MARKUP });
  const token = await server.send("POST", "/api/v1/waitpoints/tokens", { tags: [LINK], timeout: "1h" });
  await server.send("POST", `/api/v1/waitpoints/tokens/${token.id}/complete`, { data: { [MARKUP]: MARKUP } });
  const bulk = await server.send("POST", "/api/v1/bulk-actions", { action: "replay", name: MARKUP, runIds: [failed.id] });

  const visit = await openPage(browser, server);
  const { page } = visit;
  const places = [
    "",
    "/runs",
    `/runs/${echoed.id}`,
    `/runs/${failed.id}`,
    `/runs/${failed.id}/replays/sandbox`,
    `/runs/${logged.id}`,
    "/errors",
    "/bulk",
    `/bulk/${bulk.id}`,
    "/variables",
    "/tokens",
    `/tokens/${token.id}`,
    "/tasks/leaf",
    `/runs?tag=${encodeURIComponent(MARKUP)}`,
    `/runs/${encodeURIComponent(MARKUP)}`,
  ];
  visit.refuse(encodeURIComponent(MARKUP));
  for (const place of places) {
    await visit.open(place);
    const found = await page.evaluate(() => ({
      foreign: document.querySelectorAll("img, main script, [onerror], [onload]").length,
      links: [...document.querySelectorAll("[href], [src], [action]")].filter((element) =>
        /^\s*javascript:/i.test(element.getAttribute("href") ?? element.getAttribute("src") ?? ""),
      ).length,
    }));
    assert.deepEqual(found, { foreign: 0, links: 0 }, place);
  }
  await visit.open(`/runs/${failed.id}`);
  assert.ok((await page.locator("main").innerText()).includes("<script>alert(2)</script>"), "it is shown as it is");
  await visit.close();
});
