// Who gets in, and what a browser keeps of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";

let server, browser;
before(async () => {
  server = await startServer();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("another key does not open the page, and says so", async () => {
  const visit = await openPage(browser, server, { isSignedIn: false });
  const { page } = visit;
  await page.goto("/dashboard/dev/runs");
  await page.getByLabel("Admin key").fill("a guess");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("This is not the admin key of this server.").waitFor();
  assert.deepEqual(await page.context().cookies(), []);
  await visit.close();
});

test("the admin key opens the page that was asked for, and is not kept", async () => {
  const visit = await openPage(browser, server, { isSignedIn: false });
  const { page } = visit;
  await page.goto("/dashboard/dev/queues");
  await page.getByLabel("Admin key").fill(server.adminKey);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Queues", level: 1 }).waitFor();
  const [cookie, ...others] = await page.context().cookies();
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite, others], ["dacapo_session", true, "Strict", []]);
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.ok(!kept.includes(server.adminKey) && !kept.includes(cookie.value), kept);
  await page.reload();
  await page.getByRole("heading", { name: "Queues", level: 1 }).waitFor();
  await visit.close();
});

test("a tab goes on in the session that another one has begun", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/queues");
  const begun = await page.request.post("/api/v1/session", { data: { adminKey: server.adminKey } });
  assert.ok(begun.ok());
  visit.refuse("/api/v1/session");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin key").waitFor();
  assert.deepEqual(await page.context().cookies(), []);
  await visit.close();
});

test("whoever leaves is out, in every tab", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  const other = await page.context().newPage();
  await other.goto("/dashboard/dev/runs");
  await other.getByRole("heading", { name: "Runs", level: 1 }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin key").waitFor();
  assert.deepEqual(await page.context().cookies(), []);
  await other.getByLabel("Admin key").waitFor();
  await page.goto("/dashboard/dev/runs");
  await page.getByLabel("Admin key").waitFor();
  await visit.close();
});
