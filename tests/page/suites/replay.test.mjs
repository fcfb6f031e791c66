// The replay story: a run failed, its fix is deployed, and somebody wants to know.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";

let server, browser, failed;
before(async () => {
  server = await startServer();
  await server.deploy("script");
  failed = await server.call("leaf", { fail: "no prices in CHF" }, { tags: ["shop"] });
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("by mouse: from the list to a replay in the sandbox and to a live one", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs");
  await page.getByRole("row", { name: /leaf/ }).getByRole("link").first().click();
  await page.getByText("no prices in CHF").first().waitFor();
  await page.getByRole("button", { name: "Replay", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("radio", { name: /^Sandbox/ }).check();
  await dialog.getByRole("button", { name: "Replay and compare" }).click();
  await page.getByRole("heading", { name: "Replay in the sandbox" }).waitFor();
  await page.getByText("Same", { exact: true }).first().waitFor();
  const before = (await server.send("GET", "/api/v1/runs")).data.length;
  assert.equal(before, 1, "nothing was triggered");

  await visit.open(`/runs/${failed.id}`);
  await page.getByRole("button", { name: "Replay", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Replay live" }).click();
  await page.waitForURL((url) => /\/runs\/run_\w+$/.test(url.pathname) && !url.pathname.endsWith(failed.id));
  const id = new URL(page.url()).pathname.split("/").at(-1);
  const replay = await server.finished(id);
  assert.deepEqual([replay.replayedFrom, replay.isReplay, replay.tags], [failed.id, true, ["shop"]]);
  await visit.close();
});

test("by keyboard: the same without a mouse", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?status=FAILED&isTest=false");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/runs\/run_\w+$/);
  await page.getByText("no prices in CHF").first().waitFor();
  await page.keyboard.press("r");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("ArrowDown");
  assert.ok(await page.getByRole("radio", { name: /^Sandbox/ }).isChecked());
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Replay in the sandbox" }).waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await page.getByRole("heading", { name: "Deployments", level: 1 }).waitFor();
  await visit.close();
});

test("a payload that is no JSON cannot be sent", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${failed.id}`);
  await page.keyboard.press("r");
  const dialog = page.getByRole("dialog");
  const editor = dialog.locator(".cm-content").first();
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.type('{"fail": ');
  await dialog.getByRole("button", { name: "Replay live" }).and(page.locator(":disabled")).waitFor();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText('{"echo": "by hand"}');
  await dialog.getByRole("button", { name: "Replay live" }).click();
  await page.waitForURL((url) => /\/runs\/run_\w+$/.test(url.pathname) && !url.pathname.endsWith(failed.id));
  const run = await server.finished(new URL(page.url()).pathname.split("/").at(-1));
  assert.deepEqual([run.status, run.output], ["COMPLETED", "by hand"]);
  await visit.close();
});

test("a live replay in production is confirmed by the name of the task", async () => {
  await server.deploy("script", { environment: "prod" });
  const run = await server.call("leaf", { echo: 1 }, {}, "prod");
  const visit = await openPage(browser, server);
  const { page } = visit;
  await page.goto(`/dashboard/prod/runs/${run.id}`);
  await page.getByRole("button", { name: "Replay", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Replay live" }).click();
  const question = page.getByRole("dialog", { name: /Replay live in prod/ });
  await question.waitFor();
  assert.ok(await question.getByRole("button", { name: "Replay live" }).isDisabled());
  await question.getByRole("textbox").fill("leaf");
  await question.getByRole("button", { name: "Replay live" }).click();
  await page.waitForURL((url) => /\/runs\/run_\w+$/.test(url.pathname) && !url.pathname.endsWith(run.id));
  await visit.close();
});

test("a payload that was emptied is not taken for that of the source run", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${failed.id}`);
  await page.keyboard.press("r");
  const dialog = page.getByRole("dialog", { name: /^Replay/ });
  await dialog.locator(".cm-content").first().click();
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Delete");
  await dialog.getByRole("alert").filter({ hasText: "write null" }).waitFor();
  assert.ok(await dialog.getByRole("button", { name: "Replay live" }).isDisabled());
  await page.keyboard.insertText('{"echo": "long work"}');
  await page.keyboard.press("Escape");
  const question = page.getByRole("dialog", { name: "Leave this replay?" });
  await question.getByRole("button", { name: "Go on editing" }).click();
  await dialog.getByText("long work").waitFor();
  await page.keyboard.press("Escape");
  await question.getByRole("button", { name: "Discard" }).click();
  await dialog.waitFor({ state: "detached" });
  await visit.close();
});

test("a replay is executed once, and its address shows it again; in the shadow, it never begins by itself", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  let replays = 0;
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/replay")) replays += 1;
  });
  await visit.open(`/runs/${failed.id}`);
  await page.keyboard.press("r");
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("radio", { name: /^Shadow/ }).check();
  await dialog.getByRole("button", { name: "Replay and compare" }).click();
  await page.getByRole("heading", { name: "Replay in the shadow" }).waitFor();
  await page.getByText("Same", { exact: true }).first().waitFor();
  await page.getByRole("region", { name: "Noise rules" }).locator(".cm-content").waitFor();
  await page.goBack();
  await page.getByText("no prices in CHF").first().waitFor();
  await page.goForward();
  await page.getByText("Same", { exact: true }).first().waitFor();
  assert.equal(replays, 1);
  await page.reload();
  await page.getByText("Not replayed yet").waitFor();
  assert.equal(replays, 1);
  await page.getByRole("button", { name: "Replay", exact: true }).click();
  await page.getByText("Same", { exact: true }).first().waitFor();
  assert.equal(replays, 2);
  await visit.close();
});

test("a run is tried in the sandbox on what another environment has", async () => {
  const run = await server.call("leaf", { echo: 2 });
  const there = await server.deploy("script", { environment: "stg" });
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${run.id}`);
  await page.keyboard.press("r");
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("radio", { name: /^Sandbox/ }).check();
  await dialog.getByLabel("Environment").selectOption("stg");
  await dialog.getByRole("button", { name: "Replay and compare" }).click();
  await page.waitForURL(/replays\/sandbox\?environment=stg$/);
  await page.getByText("Same", { exact: true }).first().waitFor();
  await page.locator(".verdict-line").getByText(`Version ${there}`).waitFor();
  await visit.close();
});
