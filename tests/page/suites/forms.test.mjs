// The forms of the pages for operators: what they ask for, refuse, and do.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";

let server, browser;
before(async () => {
  [server, browser] = await Promise.all([startServer(), openBrowser()]);
  await server.deploy("script");
  await server.deploy("schema");
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens a place and gives what a test of a form needs. */
async function at(place) {
  const visit = await openPage(browser, server);
  await visit.open(place);
  return { visit, page: visit.page, dialog: visit.page.getByRole("dialog") };
}

const button = (place, name) => place.getByRole("button", { name, exact: true });

test("a schedule is made, refused with the reason, looked into, tried, switched off and deleted", async () => {
  const { visit, page, dialog } = await at("/schedules");
  await page.getByRole("heading", { name: "No schedules yet" }).waitFor();
  await button(page, "New schedule").click();
  await dialog.getByLabel("Task").fill("leaf");
  await dialog.getByLabel("Cron pattern").fill("61 * * * *");
  visit.refuse("/api/v1/schedules");
  await button(dialog, "Save").click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel("Cron pattern").fill("30 4 * * 1-5");
  await dialog.getByLabel("Time zone").fill("Europe/Vienna");
  await dialog.getByLabel("Your name for it").fill("nightly");
  await button(dialog, "Save").click();
  const row = page.getByRole("row", { name: /leaf/ });
  await row.getByText("30 4 * * 1-5").waitFor();
  await row.getByTitle("The next five times").click();
  await dialog.getByRole("listitem").nth(4).waitFor();
  await page.keyboard.press("Escape");
  await button(row, "Deactivate").click();
  await row.getByText("Inactive").waitFor();
  await button(row, "Activate").click();
  await row.getByText("Active", { exact: true }).waitFor();
  await button(row, "Test").click();
  await page.waitForURL(/\/runs\/run_\w+$/);
  const run = await server.finished(new URL(page.url()).pathname.split("/").at(-1));
  assert.deepEqual([run.isTest, run.payload.externalId, run.payload.upcoming.length], [true, "nightly", 5]);
  await visit.open("/schedules");
  await row.getByRole("button", { name: /^Delete/ }).click();
  await button(dialog, "Delete").click();
  await page.getByRole("heading", { name: "No schedules yet" }).waitFor();
  await visit.close();
});

test("a queue is paused, goes on, and gets another limit", async () => {
  const { visit, page, dialog } = await at("/queues");
  const row = page.getByRole("row", { name: /leaf/ });
  await button(row, "Pause").click();
  await row.getByText("Paused").waitFor();
  const held = await server.trigger("leaf", { echo: "held" });
  await row.getByRole("cell", { name: "1", exact: true }).waitFor();
  await button(row, "Resume").click();
  await server.finished(held);
  await button(row, "Limit").click();
  await dialog.getByLabel("Runs that execute at a time").fill("3");
  await page.keyboard.press("Enter");
  await row.getByText(/instead of/).waitFor();
  await button(row, "Limit").click();
  await dialog.getByLabel("Runs that execute at a time").fill("");
  await button(dialog, "Save").click();
  await row.getByText(/instead of/).waitFor({ state: "detached" });
  await visit.close();
});

test("a queue in production is paused after a question", async () => {
  await server.deploy("script", { environment: "prod" });
  const { visit, page, dialog } = await at("");
  await page.goto("/dashboard/prod/queues");
  const row = page.getByRole("row", { name: /leaf/ });
  await button(row, "Pause").click();
  await dialog.getByText("nothing starts until it is resumed", { exact: false }).waitFor();
  assert.equal(await row.getByText("Paused").count(), 0);
  await button(dialog, "Pause").click();
  await row.getByText("Paused").waitFor();
  await button(row, "Resume").click();
  await row.getByText("Idle").waitFor();
  await visit.close();
});

test("a wait token is completed by hand, and its run goes on", async () => {
  const token = await server.send("POST", "/api/v1/waitpoints/tokens", { tags: ["approval"], timeout: "1h" });
  const run = await server.trigger("script", [{ token: token.id }]);
  const { visit, page, dialog } = await at("/tokens?status=WAITING");
  await page.getByRole("row", { name: /approval/ }).getByRole("link").first().click();
  await button(page, "Complete it").click();
  const editor = dialog.locator(".cm-content");
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText('{"approved": ');
  await button(dialog, "Complete").click();
  await dialog.getByRole("alert").first().waitFor();
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText('{"approved": true}');
  await page.keyboard.press("Control+Enter");
  await page.getByText("Completed", { exact: true }).waitFor();
  assert.equal((await server.finished(run)).status, "COMPLETED");
  await visit.close();
});

test("a secret variable can be written and replaced, and is never shown", async () => {
  const { visit, page, dialog } = await at("/variables");
  await button(page, "New variable").click();
  await dialog.getByLabel("Name").fill("1 wrong");
  await dialog.getByRole("textbox", { name: "Value" }).fill("hush-hush");
  await button(dialog, "Save").click();
  assert.equal(await dialog.getByLabel("Name").evaluate((input) => input.validity.patternMismatch), true);
  await dialog.getByLabel("Name").fill("API_KEY");
  await button(dialog, "Save").click();
  const row = page.getByRole("row", { name: /API_KEY/ });
  await row.getByText("Secret").waitFor();
  await button(row, "Change").click();
  const value = dialog.getByRole("textbox", { name: "Value" });
  assert.equal(await value.inputValue(), "");
  await button(dialog, "Save").click();
  assert.equal(await value.evaluate((input) => input.validity.valueMissing), true);
  await page.keyboard.press("Escape");
  await button(page, "Import …").click();
  await dialog.getByLabel("Lines such as NAME=value").fill("SHOP=x\nwhisper");
  await button(dialog, "Import").click();
  await dialog.getByRole("alert").getByText("Line 2 is not NAME=value.", { exact: true }).waitFor();
  await dialog.getByLabel("Lines such as NAME=value").fill("# shop\nSHOP=https://shop.example\nexport LEVEL='info'\n");
  await dialog.getByRole("checkbox").uncheck();
  await button(dialog, "Import").click();
  await page.getByRole("row", { name: /LEVEL/ }).getByText("info", { exact: true }).waitFor();
  assert.ok(!(await page.content()).includes("hush-hush"));
  await page.getByRole("button", { name: "Delete SHOP" }).click();
  await button(dialog, "Delete").click();
  await page.getByRole("row", { name: /SHOP/ }).waitFor({ state: "detached" });
  await visit.close();
});

test("an environment gets rules, a limit and a gate; a key is shown once and revoked", async () => {
  const { visit, page, dialog } = await at("/environments");
  const row = page.getByRole("table", { name: "Environments" }).getByRole("row", { name: /^dev/ });
  await button(row, "Egress").click();
  await dialog.getByLabel("Hosts, one a line").fill("not a host");
  visit.refuse("/admin/v1/environments/dev/egress");
  await button(dialog, "Save").click();
  await dialog.getByText(/is not an egress rule/).waitFor();
  await dialog.getByLabel("Hosts, one a line").fill("api.example.com\n*.shop.example");
  await button(dialog, "Save").click();
  await row.getByText("*.shop.example").waitFor();
  await button(row, "Limit").click();
  await dialog.getByLabel("Runs that execute at a time").fill("7");
  await button(dialog, "Save").click();
  await row.getByRole("cell", { name: "7", exact: true }).waitFor();
  await button(row, "Gate").click();
  await dialog.getByRole("checkbox").check();
  await dialog.getByLabel("On the newest runs").fill("50");
  await button(dialog, "Save").click();
  await row.getByText("last 50 runs").waitFor();

  await button(page, "New key").click();
  await button(dialog, "Make it").click();
  const shown = dialog.getByText(/^tr_/);
  const key = await shown.innerText();
  await button(dialog, "I have it").click();
  await shown.waitFor({ state: "detached" });
  assert.ok(!(await page.content()).includes(key), "the key is gone with its dialog");
  const keyRow = page.getByRole("table", { name: "API keys" }).getByRole("row").filter({ has: page.getByRole("button", { name: "Revoke" }) });
  const good = await keyRow.count();
  await button(keyRow.first(), "Revoke").click();
  await button(dialog, "Revoke").click();
  await page.getByText("The key opens nothing any more.").waitFor();
  await keyRow.nth(good - 1).waitFor({ state: "detached" });
  await visit.close();
});

test("a task is tried with an old payload, and its schema is heard while writing", async () => {
  await server.call("schema", { n: 41 });
  const { visit, page } = await at("/tasks/schema");
  const form = page.getByRole("region", { name: "Test" });
  await form.getByLabel("Payload of an old run").selectOption({ index: 1 });
  const editor = form.locator(".cm-content").first();
  await editor.getByText("41").waitFor();
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText('{"n": "many"}');
  await form.getByRole("alert").filter({ hasText: "The schema of the task does not allow this. n:" }).waitFor();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText('{"n": 1}');
  await form.getByText("Checked against the schema").waitFor();
  await form.getByText("Metadata, tags, queue and other options").click();
  await form.getByLabel("Attempts").fill("0");
  await form.getByText("Metadata, tags, queue and other options").click();
  await button(form, "Trigger").click();
  assert.ok(await form.getByLabel("Attempts").isVisible(), "what is wrong is opened");
  await form.getByLabel("Attempts").fill("2");
  await form.getByLabel("Tags").fill("by-hand, twice");
  await button(form, "Trigger").click();
  await page.waitForURL(/\/runs\/run_\w+$/);
  const run = await server.finished(new URL(page.url()).pathname.split("/").at(-1));
  assert.deepEqual([run.output, run.tags, run.isTest], [2, ["by-hand", "twice"], true]);
  await visit.close();
});
