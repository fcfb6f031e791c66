// The same for many runs at once.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";

let server, browser;
before(async () => {
  [server, browser] = await Promise.all([startServer(), openBrowser()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("a bulk action on more runs than a request may name is run again in parts", async () => {
  const MANY = 520;
  await server.deploy("script");
  const items = Array.from({ length: MANY }, (_, n) => ({ task: "leaf", payload: { echo: n }, options: { tags: ["many"] } }));
  await server.batch(items);
  const { id } = await server.send("POST", "/api/v1/bulk-actions", { action: "cancel", filter: { tag: "many" } });
  const { counts } = await server.settled("bulk-actions", id);
  assert.equal(counts.total, MANY);
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/bulk/${id}`);
  await page.getByRole("button", { name: "Run again" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Run again" }).click();
  await page.waitForURL(/\/bulk$/);
  await page.getByText("500 to an action").waitFor();
  const { data } = await server.send("GET", "/api/v1/bulk-actions");
  assert.equal(data.length, 3);
  await visit.close();
});
