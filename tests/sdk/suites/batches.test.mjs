// tasks.batchTrigger, batch.*: what a backend sends as one, and what becomes of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiError, BatchTriggerError, batch, runs, task, tasks } from "@trigger.dev/sdk";
import { finished, refusal, startServer } from "../harness.mjs";

const PATIENCE_MS = 60_000;
let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1", "fail");
});
after(() => server.stop());

/** The batch once it has one of these statuses. */
async function until(id, ...statuses) {
  const deadline = Date.now() + PATIENCE_MS;
  let seen;
  while (Date.now() < deadline) {
    seen = await batch.retrieve(id);
    if (statuses.includes(seen.status)) return seen;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`${id} should have become ${statuses}, but is still ${seen.status}`);
}

function range(count) {
  return Array.from({ length: count }, (_, n) => n);
}

test("a task is triggered with many payloads", async () => {
  const at = new Date(86_400_000);
  const handle = await tasks.batchTrigger("echo", [
    { payload: { n: 0, at } },
    { payload: "text", options: { tags: ["second"], metadata: { place: 2 } } },
    { payload: undefined },
  ]);
  assert.match(handle.batchId, /^batch_\w+$/);
  assert.equal(handle.runCount, 3);
  assert.equal(handle.publicAccessToken.split(".").length, 3);

  const whole = await until(handle.batchId, "COMPLETED");

  assert.equal(whole.id, handle.batchId);
  assert.equal(whole.runCount, 3);
  assert.deepEqual(whole.processing.errors, []);
  assert.ok(whole.createdAt instanceof Date && whole.updatedAt >= whole.createdAt);
  const ended = await Promise.all(whole.runs.map((id) => runs.retrieve(id)));
  assert.deepEqual(
    ended.map((run) => run.output.payload),
    [{ n: 0, at: at.toISOString() }, "text", null],
  );
  assert.deepEqual(ended[1].tags, ["second"]);
  assert.deepEqual(ended[1].metadata, { place: 2 });
  const listed = await runs.list({ batch: handle.batchId });
  assert.deepEqual(
    listed.data.map((run) => run.id),
    whole.runs.toReversed(),
  );
});

test("different tasks are triggered as one", async () => {
  const handle = await batch.trigger([
    { id: "echo", payload: 1 },
    { id: "fail", payload: {}, options: { maxAttempts: 1 } },
  ]);
  const whole = await until(handle.batchId, "COMPLETED");
  const ended = await Promise.all(whole.runs.map((id) => runs.retrieve(id)));
  assert.deepEqual(
    ended.map((run) => [run.taskIdentifier, run.status]),
    [
      ["echo", "COMPLETED"],
      ["fail", "FAILED"],
    ],
  );
});

test("tasks are triggered by what defines them", async () => {
  const echo = task({ id: "echo", run: async (payload) => payload });
  const handle = await batch.triggerByTask([
    { task: echo, payload: "by" },
    { task: echo, payload: "task" },
  ]);
  const whole = await until(handle.batchId, "COMPLETED");
  const ended = await Promise.all(whole.runs.map((id) => runs.retrieve(id)));
  assert.deepEqual(
    ended.map((run) => run.output.payload),
    ["by", "task"],
  );
});

test("a batch of 1,000 items runs whole", async () => {
  const handle = await tasks.batchTrigger(
    "echo",
    range(1_000).map((n) => ({ payload: { n } })),
  );
  assert.equal(handle.runCount, 1_000);
  const whole = await until(handle.batchId, "COMPLETED");
  assert.equal(new Set(whole.runs).size, 1_000);
  const seen = [];
  for await (const run of runs.list({ batch: handle.batchId, limit: 100 })) seen.push(run.id);
  assert.deepEqual(seen.toReversed(), whole.runs);
  assert.deepEqual((await runs.retrieve(whole.runs[0])).output.payload, { n: 0 });
  assert.deepEqual((await runs.retrieve(whole.runs[999])).output.payload, { n: 999 });
});

test("more than 1,000 items are refused", async () => {
  const items = range(1_001).map((n) => ({ payload: n }));
  const error = await refusal(() => tasks.batchTrigger("echo", items));
  assert.ok(error instanceof BatchTriggerError, `${error}`);
  assert.equal(error.phase, "create");
  assert.match(error.message, /1 to 1000/);
});

test("a stream of items is a batch", async () => {
  async function* items() {
    for (const n of range(5)) yield { payload: n };
  }
  const handle = await tasks.batchTrigger("echo", items());
  const whole = await until(handle.batchId, "COMPLETED");
  assert.equal(whole.runs.length, 5);
});

test("a batch with the same idempotency key is sent once", async () => {
  const send = () => tasks.batchTrigger("echo", [{ payload: 1 }, { payload: 2 }], { idempotencyKey: "nightly" });
  const first = await send();
  const second = await send();

  assert.equal(second.batchId, first.batchId);
  assert.equal(second.runCount, 2);
  const whole = await until(first.batchId, "COMPLETED");
  // The client does not say whether the batch was there before; the server tells it so.
  const announced = await server.fetch("/api/v3/batches", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ runCount: 2, idempotencyKey: whole.idempotencyKey }),
  });
  const { id, isCached } = await announced.json();
  assert.deepEqual([id, isCached], [first.batchId, true]);
  assert.equal(new Set(whole.runs).size, 2);
  assert.equal((await runs.list({ batch: first.batchId })).data.length, 2);
});

test("items with the same idempotency key share a run", async () => {
  const options = { idempotencyKey: "shared" };
  const handle = await tasks.batchTrigger("echo", [
    { payload: 1, options },
    { payload: 2, options },
  ]);
  const whole = await until(handle.batchId, "COMPLETED");
  assert.equal(whole.runs.length, 2);
  assert.equal(whole.runs[0], whole.runs[1]);
});

test("large items are uploaded and come back whole", async () => {
  const payload = (n) => ({ n, text: String(n).repeat(200_000), at: new Date(n) });
  const handle = await tasks.batchTrigger(
    "echo",
    range(5).map((n) => ({ payload: payload(n) })),
  );
  const whole = await until(handle.batchId, "COMPLETED");
  for (const n of range(5)) {
    const run = await finished(whole.runs[n]);
    assert.deepEqual(run.output.payload, JSON.parse(JSON.stringify(payload(n))));
  }
});

test("items that cannot run are told, the others run", async () => {
  const handle = await tasks.batchTrigger("echo", [
    { payload: 0 },
    { payload: 1, options: { version: "20200101.1" } },
  ]);
  const whole = await until(handle.batchId, "PARTIAL_FAILED");
  assert.equal(whole.runs.length, 1);
  assert.equal((await finished(whole.runs[0])).output.payload, 0);
  assert.deepEqual(whole.processing.errors, [
    {
      index: 1,
      taskIdentifier: "echo",
      error: "version `20200101.1` does not exist in this environment",
      errorCode: "BATCH_ITEM_COULD_NOT_TRIGGER",
    },
  ]);
});

test("an unknown batch is not found", async () => {
  const error = await refusal(() => batch.retrieve("batch_00000000000000000000000001"));
  assert.ok(error instanceof ApiError);
  assert.equal(error.status, 404);
  const other = server.client({ accessToken: server.keys.stg });
  const handle = await tasks.batchTrigger("echo", [{ payload: 1 }]);
  assert.equal((await refusal(() => other.batch.retrieve(handle.batchId))).status, 404);
  await until(handle.batchId, "COMPLETED");
});
