// runs.retrieve: every status shows as what it is.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { runs, tasks } from "@trigger.dev/sdk";
import { assertNear, finished, startServer, until } from "../harness.mjs";

let server;
let version;

before(async () => {
  server = await startServer();
  await server.deploy("fail", "flaky", "sleep", "spin", "trap");
  version = await server.deploy("echo_v1");
});
after(() => server.stop());

const FLAGS = ["isQueued", "isExecuting", "isWaiting", "isCompleted", "isSuccess", "isFailed", "isCancelled"];

function assertFlags(run, ...expected) {
  const actual = FLAGS.filter((flag) => run[flag] === true);
  assert.deepEqual(actual, expected, `of a run that is ${run.status}`);
  for (const flag of FLAGS) assert.equal(typeof run[flag], "boolean", flag);
}

test("a completed run shows all there is to know", async () => {
  const before = Date.now();
  const handle = await tasks.trigger("echo", { n: 1 });
  const run = await finished(handle);

  assert.equal(run.status, "COMPLETED");
  assertFlags(run, "isCompleted", "isSuccess");
  assert.equal(run.taskIdentifier, "echo");
  assert.equal(run.version, version);
  assert.equal(run.isTest, false);
  assert.equal(run.attemptCount, 1);
  assert.equal(run.depth, 0);
  assert.equal(run.triggerFunction, "trigger");
  assert.deepEqual(run.payload, { n: 1 });
  assert.equal(run.output.version, 1);
  assert.equal(run.output.ctx.runId, handle.id);
  assert.equal(run.output.ctx.environment, "dev");
  assert.equal(run.output.ctx.version, version);
  assert.equal(run.error, undefined);
  assert.equal(run.delayedUntil, undefined);
  assert.equal(run.expiredAt, undefined);
  assert.ok(Number.isFinite(run.durationMs) && run.durationMs >= 0);
  for (const field of ["createdAt", "updatedAt", "startedAt", "finishedAt"]) assertNear(run[field], before, field);
  const order = [run.createdAt, run.startedAt, run.finishedAt].map(Number);
  assert.deepEqual(order, order.toSorted((a, b) => a - b));
});

test("a handle and an id find the same run", async () => {
  const handle = await tasks.trigger("echo", {});
  await finished(handle);
  assert.deepEqual(await runs.retrieve(handle.id), await runs.retrieve(handle));
});

test("a failed run says why, and how often it was tried", async () => {
  const run = await finished(await tasks.trigger("fail", { name: "OutOfStock", message: "no mugs left" }));

  assert.equal(run.status, "FAILED");
  assertFlags(run, "isCompleted", "isFailed");
  assert.equal(run.error.name, "OutOfStock");
  assert.equal(run.error.message, "no mugs left");
  assert.equal(run.attemptCount, 3);
  assert.equal(run.output, undefined);
});

test("an aborting error is not retried", async () => {
  const run = await finished(await tasks.trigger("fail", { retry: "never" }));
  assert.equal(run.status, "FAILED");
  assert.equal(run.attemptCount, 1);
});

test("a run that succeeds in the end shows its output and no error", async () => {
  const run = await finished(await tasks.trigger("flaky", { succeedOn: 3 }));
  assert.equal(run.status, "COMPLETED");
  assert.equal(run.attemptCount, 3);
  assert.equal(run.output, 3);
  assert.equal(run.error, undefined);
});

test("a trap crashes the run and nothing else", async () => {
  const run = await finished(await tasks.trigger("trap", {}));
  assert.equal(run.status, "CRASHED");
  assertFlags(run, "isCompleted", "isFailed");
  assert.ok(run.error.message.length > 0);
  assert.equal(run.attemptCount, 1);
});

test("an executing run says so", async () => {
  const run = await until(await tasks.trigger("spin", {}), "EXECUTING");
  assertFlags(run, "isExecuting");
  assert.ok(run.startedAt instanceof Date);
  assert.equal(run.finishedAt, undefined);
  await runs.cancel(run.id);
});

test("a delayed and a parked run are queued, and have not started", async () => {
  const delayed = await runs.retrieve(await tasks.trigger("echo", {}, { delay: "1h" }));
  const parked = await runs.retrieve(await tasks.trigger("nobody-has-it", {}));

  assert.equal(delayed.status, "DELAYED");
  assert.equal(parked.status, "PENDING_VERSION");
  for (const run of [delayed, parked]) {
    assertFlags(run, "isQueued");
    assert.equal(run.startedAt, undefined);
    assert.equal(run.finishedAt, undefined);
    assert.equal(run.attemptCount, 0);
  }
});

test("a canceled run has ended without success", async () => {
  const handle = await tasks.trigger("echo", {}, { delay: "1h" });
  await runs.cancel(handle.id);
  const run = await runs.retrieve(handle);
  assert.equal(run.status, "CANCELED");
  assertFlags(run, "isCompleted", "isFailed", "isCancelled");
  assert.ok(run.finishedAt instanceof Date);
});

test("a run that uses up its CPU time has timed out", async () => {
  const run = await finished(await tasks.trigger("spin", {}, { maxDuration: 5 }));
  assert.equal(run.status, "TIMED_OUT");
  assertFlags(run, "isCompleted", "isFailed");
  assert.ok(run.durationMs >= 4_500, `it used ${run.durationMs} ms`);
});
