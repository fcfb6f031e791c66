// The page without a mouse.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";

const PAGES = {
  o: "Overview",
  r: "Runs",
  e: "Errors",
  b: "Backtests",
  u: "Bulk actions",
  a: "Batches",
  t: "Tasks",
  d: "Deployments",
  q: "Queues",
  s: "Schedules",
  w: "Wait tokens",
  n: "Environments",
  v: "Variables",
};

let server, browser;
before(async () => {
  [server, browser] = await Promise.all([startServer(), openBrowser()]);
  await server.deploy("script");
  for (const n of [1, 2, 3]) await server.call("leaf", { echo: n }, { tags: [`n${n}`] });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("two keys lead to every page, and ? says which", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs");
  for (const [key, title] of Object.entries(PAGES)) {
    await page.keyboard.press("g");
    await page.keyboard.press(key);
    await page.getByRole("heading", { name: title, level: 1, exact: true }).waitFor();
    await page.getByRole("link", { name: title, exact: true }).and(page.locator("[aria-current=page]")).waitFor();
  }
  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keyboard" });
  for (const title of Object.values(PAGES)) await help.getByText(title, { exact: true }).waitFor();
  await page.keyboard.press("Escape");
  await help.waitFor({ state: "detached" });
  await visit.close();
});

test("letters can be switched off, for good", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs");
  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keyboard" });
  await help.getByLabel("Letters and signs are shortcuts").uncheck();
  await page.keyboard.press("Escape");
  await page.reload();
  await visit.settled();
  await page.keyboard.press("?");
  await page.keyboard.press("j");
  assert.equal(await page.locator("tr.at, dialog").count(), 0);
  await page.keyboard.press("ArrowDown");
  await page.locator("tr.at").waitFor();
  await visit.close();
});

test("rows are reached, opened, left again and picked by keys; what has the focus is seen", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?taskIdentifier=leaf");
  const at = page.locator("tr.at");
  await page.keyboard.press("j");
  await page.keyboard.press("ArrowDown");
  await at.getByText("n2").waitFor();
  assert.ok(await at.getByRole("link").first().evaluate((link) => link === document.activeElement), "the row is read out");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/runs\/run_\w+$/);
  await page.getByRole("heading", { name: "leaf", level: 1 }).waitFor();
  await page.keyboard.press("u");
  await at.getByText("n2").waitFor();
  await page.keyboard.press("k");
  await at.getByText("n3").waitFor();
  await page.keyboard.press("x");
  await page.keyboard.press("j");
  await page.keyboard.press("Shift+X");
  await page.getByText("2 selected").waitFor();
  await page.keyboard.press("a");
  await page.getByText("All 3 that match").waitFor();
  await page.keyboard.press("x");
  await page.getByText("2 selected").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("toolbar").waitFor({ state: "detached" });
  await page.keyboard.press("Tab");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid");
  await visit.close();
});

test("a run is canceled by keys, and the focus returns to where it was", async () => {
  const waiting = await server.trigger("script", [{ wait_ms: 600_000 }]);
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${waiting}`);
  await page.getByRole("button", { name: "Cancel" }).focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Cancel this run?" });
  await dialog.waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), "Cancel");
  await page.keyboard.press("c");
  await dialog.waitFor();
  await page.keyboard.press("Enter");
  await page.getByText("The run was canceled.").waitFor();
  await page.locator(".page-header").getByText("Canceled").waitFor();
  await visit.close();
});

test("a filter is written, chosen with arrows, and removed by keys", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs");
  await page.keyboard.press("/");
  await page.keyboard.type("replay:");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForURL(/isReplay=false/);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Remove the condition replay false" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.search === "");
  await visit.close();
});
