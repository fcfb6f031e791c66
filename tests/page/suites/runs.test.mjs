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

test("two moments take the place of a span, and go with it", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?period=1h");
  const times = page.getByLabel("When runs were triggered");
  await times.selectOption("Between …");
  await page.waitForURL((url) => url.searchParams.has("from") && !url.searchParams.has("period"));
  assert.notEqual(await page.getByLabel(/^From/).inputValue(), "");
  await page.goBack();
  await page.waitForURL(/period=1h/);
  await page.getByLabel(/^From/).waitFor({ state: "detached" });
  assert.equal(await times.inputValue(), "1h");
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

test("a run stays live, however many newer ones there are", async () => {
  const token = await server.send("POST", "/api/v1/waitpoints/tokens", { timeout: "1h" });
  const waiting = await server.trigger("script", [{ token: token.id }], { tags: ["patient"] });
  const leaves = (many) => Array.from({ length: many }, (_, n) => ({ task: "leaf", payload: { echo: n } }));
  await server.batch(leaves(30));
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs");
  const row = page.getByRole("row", { name: /patient/ });
  await row.getByText("Waiting").waitFor();
  await server.batch(leaves(200));
  await page.getByRole("button", { name: "50 new runs and more" }).waitFor();
  await server.send("POST", `/api/v1/waitpoints/tokens/${token.id}/complete`, { data: 1 });
  await server.finished(waiting);
  await row.getByText("Completed").waitFor();
  await visit.close();
});

test("a search that has not reached the end goes on", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  const next = "1-run_00000000000000000000000000";
  await page.route(/api\/v1\/runs\?.*rare/, (route) =>
    new URL(route.request().url()).searchParams.has("page[after]")
      ? route.fulfill({ json: { data: [], pagination: { previous: next } } })
      : route.fulfill({ json: { data: [], pagination: { next } } }),
  );
  await visit.open("/runs?tag=rare&taskIdentifier=leaf");
  await page.getByRole("heading", { name: "None found so far" }).waitFor();
  await page.getByRole("button", { name: "Older" }).click();
  await page.waitForURL(/after=/);
  await page.getByRole("heading", { name: "No older run meets these conditions" }).waitFor();
  await visit.close();
});

test("a list that was not answered is asked for again", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  let asked = 0;
  await page.route(/api\/v1\/runs\?/, (route) => (++asked === 1 ? route.abort() : route.continue()));
  page.on("requestfailed", (request) => visit.refuse(request.url()));
  await visit.open("/runs");
  await page.getByText("The server does not answer.").waitFor();
  await page.getByRole("row", { name: /leaf/ }).first().waitFor();
  await visit.close();
});

test("a group of errors is replayed as far back as is shown", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/errors?period=24h");
  const row = page.getByRole("row", { name: /leaf/ });
  assert.match(await row.getByRole("link").first().getAttribute("href"), /[?&]period=24h/);
  await row.getByRole("button", { name: "Replay" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(/of the last 24h/).waitFor();
  const sent = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/bulk-actions"));
  await dialog.getByRole("button", { name: "Replay" }).click();
  assert.equal((await sent).postDataJSON().filter.period, "24h");
  await page.waitForURL(/\/bulk\/bulk_\w+/);
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

test("what was picked on other pages is counted and done, too", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?taskIdentifier=leaf");
  const boxes = page.getByRole("checkbox", { name: /^Select leaf/ });
  await boxes.nth(0).check();
  await boxes.nth(1).check();
  const first = await boxes.nth(0).getAttribute("aria-label");
  await page.getByRole("button", { name: "Older" }).click();
  await page.waitForURL(/after=/);
  await page.getByLabel(first).waitFor({ state: "detached" });
  await boxes.nth(0).check();
  const bar = page.getByRole("toolbar", { name: "Selected runs" });
  await bar.getByText("3 selected").waitFor();
  await bar.getByText("2 of them on other pages").waitFor();
  await bar.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("dialog").getByText(/It is for 3 runs/).waitFor();
  const sent = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/bulk-actions"));
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the runs" }).click();
  assert.equal(new Set((await sent).postDataJSON().runIds).size, 3);
  await page.waitForURL(/\/bulk\/bulk_\w+/);
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
