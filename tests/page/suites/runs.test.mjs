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

test("conditions are still there on the way back from a run", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?status=FAILED&taskIdentifier=leaf");
  const chips = () => page.getByRole("button", { name: /Remove the condition/ }).count();
  const goes = [
    ["the browser's back", () => page.goBack()],
    ["the link above the title", () => page.getByRole("main").getByRole("link", { name: "Runs", exact: true }).click()],
    ["the key u", () => page.keyboard.press("u")],
  ];
  for (const [way, back] of goes) {
    await page.getByRole("row", { name: /leaf/ }).getByRole("link").first().click();
    await page.getByRole("heading", { name: "leaf", level: 1 }).waitFor();
    await back();
    await page.waitForURL(/status=FAILED&taskIdentifier=leaf$/);
    await page.getByRole("row", { name: /leaf/ }).waitFor();
    assert.equal(await chips(), 2, way);
  }
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
  const items = Array.from({ length: 1_000 }, (_, n) => ({ task: "leaf", payload: { echo: n } }));
  for (let sent = 0; sent < MANY; sent += items.length) await server.batch(items);
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

test("a bulk action on all that match is aborted, and says how far it came", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?taskIdentifier=leaf");
  await page.keyboard.press("a");
  await page.keyboard.press("r");
  await page.getByRole("dialog").getByRole("button", { name: /^Replay/ }).click();
  await page.waitForURL(/\/bulk\/bulk_\w+/);
  await page.getByRole("button", { name: "Abort" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Abort" }).click();
  await page.getByText("The bulk action was aborted.").waitFor();
  await page.locator(".page-header").getByText("Aborted").waitFor();
  const bulk = await server.send("GET", `/api/v1/bulk-actions/${new URL(page.url()).pathname.split("/").at(-1)}`);
  assert.equal(bulk.status, "ABORTED");
  assert.ok(bulk.counts.success < MANY, `${bulk.counts.success} runs were made`);
  await visit.close();
});
