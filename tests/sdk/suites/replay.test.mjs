// runs.replay: an old payload on the newest code.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NotFoundError, UnprocessableEntityError, runs, tasks } from "@trigger.dev/sdk";
import { finished, refusal, startServer, until } from "../harness.mjs";

let server;
let v1;
let v2;
// A completed run of version 1, with every option that a replay takes over.
let source;

before(async () => {
  server = await startServer();
  await server.deploy("flaky", "sleep", "fail", "script");
  v1 = await server.deploy("echo_v1");
  const options = { tags: ["user:1"], metadata: { n: 1 }, queue: "reports", idempotencyKey: "once", priority: 5 };
  source = await finished(await tasks.trigger("echo", { order: 7 }, options));
  v2 = await server.deploy("echo_v2");
});
after(() => server.stop());

async function replayed(run, options) {
  return finished((await runs.replay(run.id, options)).id);
}

test("a replay runs the same payload on the newest version", async () => {
  const run = await replayed(source);

  assert.notEqual(run.id, source.id);
  assert.equal(source.output.version, 1);
  assert.equal(run.output.version, 2);
  assert.equal(run.version, v2);
  assert.deepEqual(run.payload, { order: 7 });
  assert.deepEqual(run.output.payload, { order: 7 });
});

test("the task knows that it is a replay, and of what", async () => {
  const run = await replayed(source);
  assert.equal(source.output.ctx.isReplay, false);
  assert.equal(run.output.ctx.isReplay, true);
  assert.equal(run.output.ctx.replayedFrom, source.id);
  assert.equal(run.output.ctx.attempt, 1);
});

test("a replay takes over tags, metadata and queue, but not the idempotency key", async () => {
  const run = await replayed(source);
  assert.deepEqual(run.tags, ["user:1"]);
  assert.deepEqual(run.metadata, { n: 1 });
  assert.equal(run.output.ctx.queue, "reports");
  assert.equal(source.idempotencyKey, "once");
  assert.equal(run.idempotencyKey, undefined);
});

test("a replay may be given another payload", async () => {
  const run = await replayed(source, { payload: { at: new Date(0), n: 2 } });
  assert.deepEqual(run.output.payload, { at: "1970-01-01T00:00:00.000Z", n: 2 });
  assert.equal(run.output.ctx.replayedFrom, source.id);
});

test("a replay may be given other tags, metadata, queue and machine", async () => {
  const options = { tags: ["again"], metadata: { other: true }, queue: "slow", machine: "small-2x", maxDuration: 60 };
  const run = await replayed(source, options);
  assert.deepEqual(run.tags, ["again"]);
  assert.deepEqual(run.metadata, { other: true });
  assert.equal(run.output.ctx.queue, "slow");
  assert.deepEqual(run.payload, { order: 7 });
});

test("a replay may be pinned to an older version", async () => {
  const run = await replayed(source, { version: v1 });
  assert.equal(run.output.version, 1);
  assert.equal(run.version, v1);
});

test("a version that does not exist is refused", async () => {
  const error = await refusal(() => runs.replay(source.id, { version: "19990101.1" }));
  assert.ok(error instanceof UnprocessableEntityError, String(error));
});

test("a replay may be delayed", async () => {
  const { id } = await runs.replay(source.id, { delay: "1h" });
  assert.equal((await runs.retrieve(id)).status, "DELAYED");
  await runs.cancel(id);
});

test("a replay may have an idempotency key, and maximal attempts", async () => {
  const first = await runs.replay(source.id, { idempotencyKey: "replay-7" });
  const second = await runs.replay(source.id, { idempotencyKey: "replay-7" });
  assert.equal(second.id, first.id);

  const failing = await finished(await tasks.trigger("fail", {}, { maxAttempts: 1 }));
  assert.equal((await replayed(failing, { maxAttempts: 2 })).attemptCount, 2);
});

test("a failed run is replayed with the task's own retries", async () => {
  const failing = await finished(await tasks.trigger("flaky", { succeedOn: 3 }, { maxAttempts: 1 }));
  assert.equal(failing.status, "FAILED");
  const run = await replayed(failing);
  assert.equal(run.status, "COMPLETED");
  assert.equal(run.attemptCount, 3);
});

test("a replay can be replayed", async () => {
  const child = await replayed(source);
  const grandchild = await replayed(child);
  assert.equal(grandchild.output.ctx.replayedFrom, child.id);
});

test("a run that has not ended can be replayed", async () => {
  const executing = await until(await tasks.trigger("sleep", { ms: 2_000 }), "EXECUTING");
  const delayed = await tasks.trigger("echo", { n: 1 }, { delay: "1h" });

  const copy = await runs.replay(executing.id);
  assert.deepEqual((await runs.retrieve(copy.id)).payload, { ms: 2_000 });
  const now = await replayed(delayed);
  assert.equal(now.status, "COMPLETED");
  assert.equal((await runs.retrieve(delayed)).status, "DELAYED");
});

test("a canceled run can be replayed", async () => {
  const handle = await tasks.trigger("echo", { n: 9 }, { delay: "1h" });
  await runs.cancel(handle.id);
  const run = await replayed(handle);
  assert.deepEqual(run.output.payload, { n: 9 });
});

test("a string and a date survive a replay", async () => {
  for (const payload of ["just text", { at: new Date(0) }]) {
    const first = await finished(await tasks.trigger("echo", payload));
    assert.deepEqual((await replayed(first)).output.payload, first.output.payload);
  }
});

// Dacapo's own: the client has no method for it, and its key opens it.
test("a replay in the sandbox makes no run, and says how versions differ", async () => {
  const before = (await runs.list({ taskIdentifier: "echo", limit: 100 })).data.length;
  const body = JSON.stringify({ mode: "sandbox", version: v2 });
  const headers = { "content-type": "application/json" };
  const answer = await server.fetch(`/api/v1/runs/${source.id}/replay`, { method: "POST", headers, body });
  assert.equal(answer.status, 200);
  const report = await answer.json();
  assert.deepEqual([report.sourceRunId, report.version, report.mode], [source.id, v2, "sandbox"]);
  assert.equal(report.verdict, "output-changed");
  assert.ok(report.comparison.output.items.some(({ path }) => path === "$.version"), JSON.stringify(report));
  assert.equal((await runs.list({ taskIdentifier: "echo", limit: 100 })).data.length, before);
});

test("a failed run goes on from its failure, once", async () => {
  const steps = [{ child: { task: "leaf", payload: { fail: "a leaf falls" } } }, { fail: "no" }];
  const failed = await finished(await tasks.trigger("script", steps, { maxAttempts: 1 }));
  assert.equal(failed.status, "FAILED");
  const body = JSON.stringify({ fromFailure: true });
  const headers = { "content-type": "application/json" };
  const forward = () => server.fetch(`/api/v1/runs/${failed.id}/replay`, { method: "POST", headers, body });
  const answer = await forward();
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  const { id, goesOn } = JSON.parse(text);
  assert.equal(goesOn.name, "runs.trigger-and-wait(leaf)");
  assert.equal((await finished({ id })).status, "FAILED");
  assert.equal((await runs.list({ taskIdentifier: "leaf", limit: 100 })).data.length, 2);
  assert.equal((await forward()).status, 409);
});

test("a run that does not exist cannot be replayed", async () => {
  const error = await refusal(() => runs.replay("run_0000000000000000000000000"));
  assert.ok(error instanceof NotFoundError, String(error));
});
