// What users write is text, wherever it is shown.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "../browser.mjs";
import { startServer } from "../server.mjs";

const MARKUP = `"'><img src=x onerror="alert(1)"><script>alert(2)</script><svg onload=alert(3)>{{7*7}}`;
const LINK = "javascript:alert(4)";

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

/** What must not be there, in the page and in the shadows in it. */
function foreign() {
  const roots = [document, ...[...document.querySelectorAll("*")].map((element) => element.shadowRoot).filter(Boolean)];
  const all = roots.flatMap((root) => [...root.querySelectorAll("*")]);
  return all
    .filter((element) => {
      const target = ["href", "src", "action"].map((name) => element.getAttribute(name) ?? "").join(" ");
      const isScript = element.localName === "script" && !element.src.startsWith(location.origin);
      const acts = [...element.attributes].some((attribute) => attribute.name.startsWith("on"));
      return element.localName === "img" || isScript || acts || /^\s*javascript:/i.test(target);
    })
    .map((element) => element.outerHTML);
}

test("markup in every field stays text on every page", async () => {
  const tags = [MARKUP.slice(0, 100), LINK];
  const metadata = { [MARKUP]: MARKUP, link: LINK };
  const echoed = await server.call("leaf", { echo: { [MARKUP]: [MARKUP, LINK] } }, { tags, metadata });
  const failed = await server.call("leaf", { fail: MARKUP }, { tags });
  const logged = await server.call("script", [{ log: MARKUP }, { metadata }, { stream: { name: "s", chunks: [MARKUP] } }]);
  await server.send("POST", "/api/v1/projects/p/envvars/dev", { name: "NAME", value: MARKUP });
  const token = await server.send("POST", "/api/v1/waitpoints/tokens", { tags: [LINK], timeout: "1h" });
  await server.send("POST", `/api/v1/waitpoints/tokens/${token.id}/complete`, { data: { [MARKUP]: MARKUP } });
  const bulk = await server.send("POST", "/api/v1/bulk-actions", { action: "replay", name: MARKUP, runIds: [failed.id] });
  const options = { idempotencyKey: MARKUP, concurrencyKey: MARKUP, queue: { name: LINK }, delay: "1h", tags };
  const keyed = await server.trigger("leaf", MARKUP, options).catch(() => server.trigger("leaf", MARKUP, { ...options, queue: undefined }));
  const schedule = { task: "leaf", cron: "0 4 * * *", deduplicationKey: MARKUP, externalId: MARKUP };
  await server.send("POST", "/api/v1/schedules", schedule);
  const batch = await server.batch([{ task: "leaf", payload: MARKUP }, { task: MARKUP.slice(0, 100), payload: 1 }]);
  const version = await server.deploy("echo_v1", { name: "echo", query: `&skipPromotion=true&externalId=${encodeURIComponent(MARKUP.slice(0, 60))}` });
  const backtest = await server.send("POST", "/api/v1/backtests", { version, filter: { tag: MARKUP.slice(0, 100) } });

  const visit = await openPage(browser, server);
  const { page } = visit;
  // Where none of it stands, and where it does.
  const unknown = `/runs/${encodeURIComponent(MARKUP)}`;
  const same = `/runs/${failed.id}/replays/sandbox`;
  const plain = ["", same, "/batches", "/queues", "/deployments", "/backtests", "/tokens", "/tasks", "/tasks/leaf", unknown];
  const marked = [
    "/runs",
    `/runs/${echoed.id}`,
    `/runs/${failed.id}`,
    `/runs/${logged.id}`,
    `/runs/${keyed}`,
    "/schedules",
    `/batches/${batch}`,
    `/deployments/${version}`,
    `/backtests/${backtest.id}`,
    "/errors",
    "/bulk",
    `/bulk/${bulk.id}`,
    "/variables",
    `/tokens/${token.id}`,
    `/tasks/${encodeURIComponent(MARKUP)}`,
    `/runs?tag=${encodeURIComponent(MARKUP)}`,
  ];
  visit.refuse(encodeURIComponent(MARKUP));
  for (const place of [...plain, ...marked]) {
    await visit.open(place);
    // It is there, so that what is looked at is no skeleton.
    const shows = () => page.getByText("<img src=x").first().waitFor({ state: "attached" });
    if (marked.includes(place)) await assert.doesNotReject(shows, place);
    assert.deepEqual(await page.evaluate(foreign), [], place);
  }

  // What opens on a page, too: the replay with its editor, a line of the log, a span.
  await visit.open(`/runs/${logged.id}`);
  for (const open of [() => page.keyboard.press("r"), () => page.getByRole("button", { name: MARKUP }).first().click()]) {
    await open();
    await page.getByRole("dialog").waitFor();
    await page.waitForTimeout(300);
    assert.deepEqual(await page.evaluate(foreign), []);
    await page.keyboard.press("Escape");
  }
  await visit.open(`/runs/${failed.id}`);
  assert.ok((await page.locator("main").innerText()).includes("<script>alert(2)</script>"), "it is shown as it is");
  await visit.close();
});
