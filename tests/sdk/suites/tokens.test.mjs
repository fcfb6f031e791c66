// auth.*: public tokens, which the client makes of a key, and what they open.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { auth, batch, runs, tasks } from "@trigger.dev/sdk";
import { finished, refusal, startServer } from "../harness.mjs";

let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1");
});
after(() => server.stop());

/** Does something with another bearer. */
function as(accessToken, call) {
  return auth.withAuth({ accessToken, baseURL: server.url }, call);
}

test("a public token retrieves what its scopes name, and nothing else", async () => {
  const handle = await tasks.trigger("echo", { n: 1 });
  const other = await tasks.trigger("echo", { n: 2 });
  await finished(handle);
  const token = await auth.createPublicToken({ scopes: { read: { runs: [handle.id] } } });
  const run = await as(token, () => runs.retrieve(handle.id));
  assert.equal(run.status, "COMPLETED");
  assert.deepEqual(run.payload, { n: 1 });
  const error = await as(token, () => refusal(() => runs.retrieve(other.id)));
  assert.equal(error.status, 403);
  assert.equal((await as(token, () => refusal(() => tasks.trigger("echo", {})))).status, 403);
});

test("a handle's own token reads its run", async () => {
  const handle = await tasks.trigger("echo", { n: 3 });
  await finished(handle);
  const run = await as(handle.publicAccessToken, () => runs.retrieve(handle.id));
  assert.equal(run.id, handle.id);
});

test("a trigger token is good for one run", async () => {
  const token = await auth.createTriggerPublicToken("echo");
  const handle = await as(token, () => tasks.trigger("echo", { n: 4 }));
  const run = await as(handle.publicAccessToken, () => runs.retrieve(handle.id));
  assert.equal(run.taskIdentifier, "echo");
  const error = await as(token, () => refusal(() => tasks.trigger("echo", { n: 5 })));
  assert.equal(error.status, 422);
  const many = await auth.createTriggerPublicToken("echo", { multipleUse: true });
  await as(many, () => tasks.trigger("echo", { n: 6 }));
  await as(many, () => tasks.trigger("echo", { n: 7 }));
  assert.equal((await as(many, () => refusal(() => tasks.trigger("other", {})))).status, 403);
});

test("a batch token makes a batch and follows it", async () => {
  const token = await auth.createBatchTriggerPublicToken("echo");
  const made = await as(token, () => batch.trigger([{ id: "echo", payload: 1 }, { id: "echo", payload: 2 }]));
  const seen = await as(made.publicAccessToken, () => batch.retrieve(made.batchId));
  assert.equal(seen.runCount, 2);
});

test("an additional key triggers, and the server makes its tokens", async () => {
  const { adminKey } = server;
  const response = await fetch(`${server.url}/admin/v1/keys`, {
    method: "POST",
    headers: { authorization: `Bearer ${adminKey}`, "content-type": "application/json" },
    body: JSON.stringify({ environment: "dev", additional: true }),
  });
  const { key } = await response.json();
  assert.match(key, /^tr_dev_sk_[0-9a-zA-Z]{24}$/);
  const handle = await as(key, () => tasks.trigger("echo", { n: 8 }));
  const run = await as(handle.publicAccessToken, () => runs.retrieve(handle.id));
  assert.equal(run.id, handle.id);
  const token = await as(key, () => auth.createPublicToken({ scopes: { read: { runs: true } } }));
  assert.equal((await as(token, () => runs.retrieve(handle.id))).id, handle.id);
});
