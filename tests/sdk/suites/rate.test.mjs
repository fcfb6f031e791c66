// Rate limits: the client waits until it may ask again, and then is answered.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { runs } from "@trigger.dev/sdk";
import { startServer } from "../harness.mjs";

let server;

before(async () => {
  server = await startServer("--rate-limit", "1", "--rate-limit-burst", "20");
});
after(() => server.stop());

test("a call that is refused for its rate is made again after the reset", async () => {
  let refused;
  for (let n = 0; n < 1_000 && !refused; n += 1) {
    const response = await server.fetch("/api/v1/runs");
    if (response.status === 429) refused = response;
    await response.arrayBuffer();
  }
  assert.equal(refused.headers.get("x-ratelimit-limit"), "20");
  const statuses = [];
  const headers = { authorization: `Bearer ${server.keys.dev}` };
  const real = globalThis.fetch;
  globalThis.fetch = async (...request) => {
    // Whatever time it took to come here, there is nothing left.
    if (statuses.length === 0) while ((await real(server.url + "/api/v1/runs", { headers })).status !== 429);
    const response = await real(...request);
    statuses.push({ status: response.status, at: Date.now(), reset: Number(response.headers.get("x-ratelimit-reset")) });
    return response;
  };
  try {
    assert.deepEqual((await runs.list()).data, []);
  } finally {
    globalThis.fetch = real;
  }
  assert.ok(statuses.length >= 2, JSON.stringify(statuses));
  assert.equal(statuses.at(0).status, 429);
  assert.equal(statuses.at(-1).status, 200);
  assert.ok(statuses[1].at >= statuses[0].reset, "the client did not wait for the reset");
});
