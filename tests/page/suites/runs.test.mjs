// The list of runs: what it shows, keeps and does.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";

const MANY = 10_000;

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

test("an empty list says what to do next", async () => {
  const visit = await openPage(browser, server);
  await visit.open("/runs");
  await visit.page.getByText(/dacapo trigger/).first().waitFor();
  await visit.close();
});

test("conditions are in the address, and stay when the page is loaded again", async () => {
  await server.call("leaf", { echo: 1 }, { tags: ["kept"] });
  await server.call("leaf", { fail: "no" });
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs");
  await page.keyboard.press("/");
  await page.keyboard.type("status:failed");
  await page.keyboard.press("Enter");
  await page.waitForURL(/status=FAILED/);
  const rows = page.getByRole("row", { name: /leaf/ });
  await rows.first().getByText("Failed").waitFor();
  assert.equal(await rows.count(), 1);
  await page.reload();
  await visit.settled();
  assert.equal(await rows.count(), 1);
  await page.getByRole("button", { name: /Remove the condition status/i }).click();
  await page.getByText("kept").waitFor();
  assert.equal(await rows.count(), 2);
  await page.goBack();
  await page.waitForURL(/status=FAILED/);
  await visit.close();
});

test("rows change in place, and new runs announce themselves", async () => {
  const waiting = await server.trigger("script", [{ wait_ms: 3_000 }], { tags: ["slow"] });
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs");
  const row = page.getByRole("row", { name: /slow/ });
  await row.getByText(/Waiting|Completed/).first().waitFor();
  await row.getByText("Completed").waitFor();
  await server.finished(waiting);
  await server.call("leaf", { echo: "new" }, { tags: ["brand-new"] });
  const news = page.getByRole("button", { name: /1 new run/ });
  await news.waitFor();
  assert.equal(await page.getByText("brand-new").count(), 0, "nothing jumps");
  await news.click();
  await page.getByText("brand-new").waitFor();
  await visit.close();
});

test("all that match are replayed at once", async () => {
  for (const n of [1, 2, 3]) await server.call("leaf", { echo: n }, { tags: ["bulk"] });
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?tag=bulk");
  await page.keyboard.press("a");
  await page.getByText(/All 3 that match/).waitFor();
  await page.getByRole("button", { name: /^Replay/ }).last().click();
  await page.getByRole("dialog").getByRole("button", { name: /^Replay/ }).click();
  await page.waitForURL(/\/bulk\/bulk_\w+/);
  await page.getByText(/Completed/i).first().waitFor();
  const runs = await server.send("GET", "/api/v1/runs?filter[tag]=bulk");
  assert.equal(runs.data.length, 6);
  await visit.close();
});

test("a list of ten thousand runs is paged, and its first page is small", async () => {
  const items = Array.from({ length: 1_000 }, (_, n) => JSON.stringify({ index: n, task: "leaf", payload: { echo: n } }));
  for (let batch = 0; batch < MANY / 1_000; batch += 1) {
    const { id } = await server.send("POST", "/api/v3/batches", { runCount: 1_000 });
    const response = await fetch(`${server.url}/api/v3/batches/${id}/items`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${server.adminKey}`,
        "x-dacapo-environment": "dev",
        "content-type": "application/x-ndjson",
      },
      body: items.join("\n"),
    });
    assert.ok(response.ok, await response.text());
  }
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?taskIdentifier=leaf");
  const shown = () => page.getByRole("row").count();
  const first = await shown();
  assert.ok(first > 10 && first < 300, `${first} rows`);
  await page.getByRole("button", { name: "Older" }).click();
  await page.waitForURL(/after=/);
  await page.getByRole("button", { name: "Newer" }).and(page.locator(":enabled")).waitFor();
  await page.keyboard.press("a");
  await page.getByText(/All 10,000 and more that match/).waitFor();
  await visit.close();
});
