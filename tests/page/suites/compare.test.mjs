// A run beside its replay: what differs, and what of it is noise.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";
import { allowShop, openShop } from "../shop.mjs";

let server, shop, browser, version, exported, plain;
before(async () => {
  [server, shop, browser] = await Promise.all([startServer(), openShop(), openBrowser()]);
  await allowShop(server);
  await server.deploy("orders_v1", { name: "orders" });
  await server.deploy("echo_v1", { name: "echo" });
  exported = await server.call("order", { id: 7, kind: "export", site: shop.url });
  plain = await server.call("echo", { customer: "acme" });
  version = await server.deploy("orders_v2", { name: "orders", query: "&skipPromotion=true" });
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await shop?.close();
});

test("a call to a new host is told in red, and becomes noise when somebody says so", async () => {
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${exported.id}`);
  await page.keyboard.press("r");
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("radio", { name: /^Sandbox/ }).check();
  await dialog.getByLabel("Version", { exact: true }).selectOption(version);
  await dialog.getByRole("button", { name: "Replay and compare" }).click();
  await page.waitForURL(/replays\/sandbox\?version=/);
  await page.getByText("Effects changed", { exact: true }).waitFor();
  const news = page.getByRole("alert").filter({ hasText: "customs.example" });
  await news.waitFor();
  const [red, green, blue] = await news.evaluate((element) => getComputedStyle(element).color.match(/[\d.]+/g).map(Number));
  assert.ok(red > 2 * green && red > 2 * blue, `rgb(${red}, ${green}, ${blue})`);
  await page.getByText("added, not in the recording").waitFor();
  await page.getByRole("row", { name: /Peak memory/ }).waitFor();

  await page.getByRole("listitem").filter({ hasText: "customs.example" }).getByRole("button", { name: "Ignore" }).click();
  await page.getByText("The rule was saved").waitFor();
  const { rules } = await server.send("GET", "/api/v1/replay-rules");
  assert.deepEqual(rules.order["ignore-effects"], ["http://customs.example/report"]);
  await page.getByText("overlooked by a rule, not in the recording").waitFor();
  await page.getByText("Same", { exact: true }).waitFor();
  await visit.close();
});

test("noise rules are written by hand, and refused with the reason where they are none", async () => {
  const echo2 = await server.deploy("echo_v2", { name: "echo", query: "&skipPromotion=true" });
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${plain.id}/replays/sandbox?version=${echo2}`);
  await page.getByText("Output changed", { exact: true }).waitFor();
  await page.locator(".changes").getByText("$.version", { exact: true }).waitFor();
  await page.locator(".diff").getByText('"version": 2').waitFor();
  const panel = page.getByRole("region", { name: "Noise rules" });
  const save = panel.getByRole("button", { name: "Save and compare again" });
  const write = async (text) => {
    await panel.locator(".cm-content").click();
    await page.keyboard.press("Control+a");
    await page.keyboard.insertText(text);
  };
  assert.ok(await save.isDisabled());
  await write('{"ignore-output": ');
  await panel.getByText("This is not JSON").waitFor();
  visit.refuse("/api/v1/replay-rules");
  await write('{"ignore-everything": true}');
  await save.click();
  await panel.getByRole("alert").filter({ hasText: "ignore-everything" }).waitFor();
  await write('{"ignore-output": ["$.version", "$.ctx"]}');
  await page.keyboard.press("Control+Enter");
  await page.getByText("Same", { exact: true }).waitFor();
  await page.getByText("What differs is overlooked by the noise rules.").waitFor();
  assert.equal(await page.locator(".diff").count(), 0, "no diff stands open above the verdict of the rules");
  await page.getByText("Both in full, before the rules").click();
  await page.locator(".diff").getByText('"version": 2').waitFor();
  await page.reload();
  await page.getByText("Same", { exact: true }).waitFor();
  await panel.getByText("$.ctx").waitFor();
  await visit.close();
});

test("a live replay is compared with its source in full", async () => {
  const { id } = await server.send("POST", `/api/v1/runs/${exported.id}/replay`, { payload: { id: 1, kind: "plain", site: shop.url } });
  await server.finished(id);
  const visit = await openPage(browser, server);
  const { page } = visit;
  await visit.open(`/runs/${id}`);
  await page.getByRole("link", { name: "Compare" }).click();
  await page.getByRole("heading", { name: "Comparison" }).waitFor();
  await page.getByRole("row", { name: /Version/ }).waitFor();
  await page.getByRole("region", { name: "Payload" }).getByText('"kind": "plain"').waitFor();
  await page.getByRole("region", { name: /^Output/ }).getByText('"id": 1,').waitFor();
  await page.getByRole("region", { name: "Calls" }).getByText(`${shop.url}/price/1`).first().waitFor();
  await visit.close();
});
