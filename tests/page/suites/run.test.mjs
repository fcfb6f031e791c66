// The page of a run: what it did, drawn as it went, and what can be taken from it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";
import { allowShop, openShop } from "../shop.mjs";

let server, shop, browser;
before(async () => {
  [server, shop, browser] = await Promise.all([startServer(), openShop(), openBrowser()]);
  await allowShop(server);
  await server.deploy("script");
  await server.deploy("orders_v1", { name: "orders" });
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await shop?.close();
});

test("the trace has calls with their outcome, waits and child runs, and each tells more", async () => {
  const run = await server.call("order", { id: 4, kind: "plain", site: shop.url });
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${run.id}`);
  const trace = page.getByRole("region", { name: "Trace" });
  const price = trace.getByRole("button", { name: `GET ${shop.url}/price/4` });
  await price.waitFor();
  await trace.getByText("200, 7 B received").waitFor();
  await trace.getByRole("button", { name: /^mail, / }).waitFor();
  await trace.getByText("HTTP", { exact: true }).waitFor();
  const bars = await trace.locator(".bar-track > i").evaluateAll((all) => all.map((bar) => bar.getBoundingClientRect()));
  const track = await trace.locator(".bar-track").first().boundingBox();
  for (const { left, right } of bars) assert.ok(left >= track.x - 1 && right <= track.x + track.width + 3, `${left} to ${right}`);
  await price.click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(`${shop.url}/price/4`, { exact: true }).waitFor();
  await dialog.getByText(new URL(shop.url).host, { exact: true }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByText("What the task is told about this run, in ctx").click();
  await page.getByRole("group", { name: "the context" }).getByText(run.id).first().waitFor();
  await page.getByRole("link", { name: "mail", exact: true }).click();
  await page.getByRole("heading", { name: "mail", level: 1 }).waitFor();
  await page.getByRole("region", { name: "Related runs" }).getByText("Parent").waitFor();
  await visit.close();
});

test("a run that goes on is followed: its state, its log and its end", async () => {
  const id = await server.trigger("script", [{ log: "first line" }, { wait_ms: 2_500 }, { log: "last line" }, { return: "the end" }]);
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${id}`);
  const logs = page.getByRole("region", { name: "Logs" });
  await logs.getByText("first line").waitFor();
  await page.getByText("live", { exact: true }).waitFor();
  await page.getByRole("region", { name: "It waits for" }).waitFor();
  await logs.getByText("last line").waitFor();
  await page.locator(".page-header").getByText("Completed").waitFor();
  await page.getByRole("group", { name: "the output" }).getByText("the end").waitFor();
  await visit.close();
});

test("a crash shows where it was, by names", async () => {
  const run = await server.call("script", [{ trap: "the index was out of bounds" }]);
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${run.id}`);
  await page.getByRole("region", { name: "Error" }).getByText("the index was out of bounds").waitFor();
  await page.getByRole("list", { name: "Backtrace" }).getByText("script::Script::step", { exact: true }).waitFor();
  await visit.close();
});

test("a run is copied as curl, as a command and as a call, without a key, and opened as JSON", async () => {
  const options = { tags: ["copied"], metadata: { n: 1 }, machine: "small-2x", maxAttempts: 2, maxDuration: 9, priority: 5, concurrencyKey: "acme" };
  const run = await server.call("leaf", { echo: "it's" }, { ...options, test: true });
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${run.id}`);
  const copied = async (name) => {
    await page.getByRole("button", { name: "Copy as" }).click();
    await page.getByRole("menuitem", { name, exact: true }).click();
    await page.getByText(/is on the clipboard/).last().waitFor();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  const curl = await copied("Copy as curl");
  assert.ok(curl.includes(`${server.url}/api/v1/tasks/leaf/trigger`) && curl.includes("it'\\''s") && curl.includes("$TRIGGER_SECRET_KEY"), curl);
  const { options: sent } = JSON.parse(/-d '(.*)'$/s.exec(curl)[1].replaceAll("'\\''", "'"));
  for (const [name, value] of Object.entries({ ...options, test: true })) assert.deepEqual(sent[name], value, name);
  const command = await copied("Copy as command");
  assert.match(command, /^dacapo trigger 'leaf' .* --tag 'copied'$/);
  for (const flag of ["--metadata '{\"n\":1}'", "--machine 'small-2x'", "--max-attempts '2'", "--max-duration '9'", "--priority '5'"])
    assert.ok(command.includes(` ${flag}`), command);
  assert.ok(command.includes(" --concurrency-key 'acme'") && command.includes(" --test"), command);
  const call = await copied("Copy as SDK call");
  assert.ok(call.includes('await tasks.trigger("leaf", {') && call.includes('"machine": "small-2x"'), call);
  assert.equal(await copied("Copy replay as command"), `dacapo runs replay ${run.id}`);
  const [tab] = await Promise.all([page.context().waitForEvent("page"), page.keyboard.press("o")]);
  await tab.waitForLoadState();
  const shown = JSON.parse(await tab.locator("body").innerText());
  assert.equal(shown.id, run.id);
  await visit.close();
});
