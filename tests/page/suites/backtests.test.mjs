// From old runs to a version that may be promoted.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";
import { allowShop, openShop } from "../shop.mjs";

const KINDS = ["plain", "refund", "gift", "export", "plain", "plain"];

let server, shop, browser, spoiled, mended;
before(async () => {
  [server, shop, browser] = await Promise.all([startServer(), openShop(), openBrowser()]);
  await allowShop(server);
  await server.deploy("orders_v1", { name: "orders" });
  for (const [n, kind] of KINDS.entries()) await server.call("order", { id: n + 1, kind, site: shop.url }, { tags: [kind] });
  spoiled = await server.deploy("orders_v2", { name: "orders", query: "&skipPromotion=true" });
  mended = await server.deploy("orders_v3", { name: "orders", query: "&skipPromotion=true" });
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await shop?.close();
});

test("from a filter: a version that spoils gifts is found out, verdict by verdict", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?taskIdentifier=order");
  await page.keyboard.press("a");
  await page.getByText(`All ${KINDS.length} that match`).waitFor();
  await page.keyboard.press("b");
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Version", { exact: true }).selectOption(spoiled);
  await dialog.getByRole("button", { name: "Start" }).click();
  await page.waitForURL(/\/backtests\/backtest_\w+/);
  const failing = page.getByRole("button", { name: "Newly failing 1" });
  await failing.waitFor();
  await page.getByRole("button", { name: "Fixed 1" }).waitFor();
  await page.getByRole("button", { name: "Same 3" }).waitFor();
  await page.getByRole("button", { name: "Run again" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Promote this version" }).count(), 0);
  await failing.click();
  await page.waitForURL(/verdict=newly-failing/);
  const rows = page.getByRole("table", { name: "Runs of the backtest" }).getByRole("row");
  await rows.nth(2).waitFor({ state: "detached" });
  await page.getByRole("cell", { name: /order 3 is a gift/ }).waitFor();
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByRole("dialog").getByText("NoGifts").first().waitFor();
  await page.keyboard.press("Escape");

  const before = page.url();
  await page.getByRole("button", { name: "Run again" }).click();
  await page.waitForURL((url) => /backtest_\w+$/.test(url.pathname) && !before.includes(url.pathname));
  await page.getByRole("button", { name: "Newly failing 1" }).waitFor();
  await visit.close();
});

test("from a selection: a version that only mends is promoted", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open("/runs?taskIdentifier=order&tag=plain");
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Shift+X");
  await page.getByText("3 selected").waitFor();
  await page.keyboard.press("b");
  const dialog = page.getByRole("dialog");
  await dialog.getByText("3 selected runs").waitFor();
  await dialog.getByLabel("Version", { exact: true }).selectOption(mended);
  await dialog.getByRole("button", { name: "Start" }).click();
  await page.getByRole("button", { name: "Same 3" }).waitFor();
  await page.getByRole("button", { name: "Promote this version" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Promote" }).click();
  await page.getByText(`Version ${mended} is current.`).waitFor();
  await page.getByRole("button", { name: "Promote this version" }).waitFor({ state: "detached" });
  const { data } = await server.send("GET", "/api/v1/deployments");
  assert.equal(data.find((item) => item.isCurrent && item.component === "orders").version, mended);
  await visit.close();
});

test("a backtest of runs without recordings is not called clean, and promotes nothing", async () => {
  const blind = await startServer("--max-journal", "0B");
  try {
    await blind.deploy("echo_v1", { name: "echo" });
    const run = await blind.call("echo", { customer: "acme" });
    const again = await blind.send("POST", `/api/v1/runs/${run.id}/replay`, {});
    await blind.finished(again.id);
    const version = await blind.deploy("echo_v2", { name: "echo", query: "&skipPromotion=true" });
    const { id } = await blind.send("POST", "/api/v1/backtests", { version, filter: { taskIdentifier: "echo" } });
    await blind.settled("backtests", id);
    const visit = await openPage(browser, blind);
    const { page } = visit;
    await visit.open(`/backtests/${id}`);
    await page.getByText("Too little known").waitFor();
    await page.getByText("nothing is known of any").waitFor();
    await page.getByRole("button", { name: "Run again" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Promote this version" }).count(), 0);

    await visit.open(`/runs/${run.id}/replays/${again.id}`);
    await page.getByRole("region", { name: "Calls" }).getByText("Calls were not compared").waitFor();
    assert.equal(await page.getByText("the same calls").count(), 0);
    await visit.close();
  } finally {
    await blind.stop();
  }
});

test("a promotion in production is confirmed by the name of the environment, and says what gate it passes", async () => {
  const site = { name: "orders", environment: "prod" };
  await server.deploy("orders_v1", site);
  const version = await server.deploy("orders_v3", { ...site, query: "&skipPromotion=true" });
  await server.send("PUT", "/admin/v1/environments/prod/backtest-policy", { policy: { last: 10 } });
  const visit = await openPage(browser, server);
  const { page } = visit;
  await page.goto(`/dashboard/prod/deployments/${version}`);
  await page.getByRole("button", { name: "Promote" }).click();
  const question = page.getByRole("dialog");
  await question.getByText("Doing it here passes that gate").waitFor();
  const promote = question.getByRole("button", { name: "Promote" });
  assert.ok(await promote.isDisabled());
  await question.getByRole("textbox").fill("prod");
  await promote.click();
  await page.getByText(`Version ${version} is current.`).waitFor();
  await visit.close();
});
