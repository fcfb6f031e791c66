// Something on every page: what a server looks like that has been in use.

import { allowShop } from "./shop.mjs";

const SPANS = [
  { log: "begins" },
  { span: [{ log: "within" }, { child: { task: "leaf", payload: { echo: 1 } } }, { sleep_ms: 20 }] },
  { metadata: { step: "prices" } },
  { wait_ms: 1_200 },
  { tags: ["traced"] },
];

/** Fills a server, and answers with the places of all pages by name. */
export async function furnish(server, shop) {
  await allowShop(server);
  await server.deploy("script");
  await server.deploy("schema");
  await server.deploy("orders_v1", { name: "orders" });
  const version = await server.deploy("orders_v2", { name: "orders", query: "&skipPromotion=true&externalId=build-4711" });
  const kinds = ["plain", "refund", "gift", "export", "parcel", "plain", "plain", "refund"];
  const payloads = kinds.map((kind, n) => ({ id: n + 1, kind, site: shop.url, customer: ["acme", "globex"][n % 2] }));
  const orders = await all(payloads, (payload) => server.call("order", payload, { tags: [payload.customer, payload.kind] }));
  const run = await server.call("script", SPANS, { tags: ["trace"], metadata: { customer: "acme" } });
  const crashed = await server.call("script", [{ log: "soon" }, { trap: "the index was out of bounds" }]);
  const failed = orders.find((order) => order.status === "FAILED");
  const old = orders.find((order) => order.tags.includes("export"));
  const made = await server.send("POST", `/api/v1/runs/${old.id}/replay`, {});
  await server.finished(made.id);
  const backtest = await server.send("POST", "/api/v1/backtests", { version, filter: { taskIdentifier: "order" } });
  const bulk = await server.send("POST", "/api/v1/bulk-actions", { action: "replay", name: "Refunds again", runIds: [failed.id] });
  const daily = { task: "order", cron: "0 9 * * 1-5", timezone: "Europe/Vienna", deduplicationKey: "daily", externalId: "acme" };
  await server.send("POST", "/api/v1/schedules", daily);
  await server.send("POST", "/api/v1/projects/p/envvars/dev", { name: "SHOP_URL", value: shop.url });
  await server.send("POST", "/api/v1/projects/p/envvars/dev", { name: "SHOP_KEY", value: "s3cret", isSecret: true });
  const token = await server.send("POST", "/api/v1/waitpoints/tokens", { tags: ["approval", "order:7"], timeout: "1h" });
  await server.trigger("script", [{ token: token.id }], { tags: ["waits"] });
  await server.trigger("leaf", { echo: 1 }, { delay: "2h" });
  const batch = await server.batch([1, 2, 3].map((n) => ({ task: "leaf", payload: n === 2 ? { fail: "no" } : { echo: n } })));
  await server.settled("backtests", backtest.id);
  await server.settled("bulk-actions", bulk.id);
  return {
    overview: "",
    runs: "/runs",
    filtered: "/runs?status=FAILED,CRASHED&taskIdentifier=order,script&period=24h",
    run: `/runs/${run.id}`,
    order: `/runs/${old.id}`,
    failed: `/runs/${failed.id}`,
    crashed: `/runs/${crashed.id}`,
    sandbox: `/runs/${old.id}/replays/sandbox?version=${version}`,
    comparison: `/runs/${old.id}/replays/${made.id}`,
    errors: "/errors",
    backtests: "/backtests",
    backtest: `/backtests/${backtest.id}`,
    bulk: "/bulk",
    "bulk-action": `/bulk/${bulk.id}`,
    batches: "/batches",
    batch: `/batches/${batch}`,
    tasks: "/tasks",
    task: "/tasks/order",
    deployments: "/deployments",
    deployment: `/deployments/${version}`,
    queues: "/queues",
    schedules: "/schedules",
    tokens: "/tokens",
    token: `/tokens/${token.id}`,
    environments: "/environments",
    variables: "/variables",
    nowhere: "/nowhere",
  };
}

/** One after another, so that their order is the same every time. */
async function all(items, work) {
  const done = [];
  for (const item of items) done.push(await work(item));
  return done;
}
