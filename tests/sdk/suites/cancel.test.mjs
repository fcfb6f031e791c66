// runs.cancel: whatever a run is doing, it ends.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NotFoundError, runs, tasks } from "@trigger.dev/sdk";
import { finished, refusal, startServer, until } from "../harness.mjs";

let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1", "sleep", "spin", "fail");
});
after(() => server.stop());

async function canceled(run) {
  const answer = await runs.cancel(run.id);
  assert.deepEqual(answer, { id: run.id });
  return runs.retrieve(run.id);
}

function assertCanceled(run) {
  assert.equal(run.status, "CANCELED");
  assert.equal(run.isCancelled, true);
  assert.equal(run.isCompleted, true);
  assert.equal(run.isSuccess, false);
  assert.ok(run.finishedAt instanceof Date);
  assert.equal(run.output, undefined);
}

test("a run that waits for a version is canceled", async () => {
  assertCanceled(await canceled(await tasks.trigger("nobody-has-it", {})));
});

test("a delayed run is canceled and never starts", async () => {
  const run = await canceled(await tasks.trigger("echo", {}, { delay: "1h" }));
  assertCanceled(run);
  assert.equal(run.startedAt, undefined);
});

test("a task that never calls its host is stopped", async () => {
  const run = await until(await tasks.trigger("spin", {}), "EXECUTING");
  assertCanceled(await canceled(run));
});

test("a task that waits in its host is stopped", async () => {
  const run = await until(await tasks.trigger("sleep", { ms: 600_000 }), "EXECUTING");
  assertCanceled(await canceled(run));
});

test("a run between two attempts is canceled and not tried again", async () => {
  const handle = await tasks.trigger("fail", { retry: { afterMs: 600_000 } });
  const between = await until(handle, "QUEUED", "DELAYED", "EXECUTING", "WAITING");
  assert.ok(between.attemptCount <= 1);
  assertCanceled(await canceled(handle));
});

test("a canceled run stays canceled", async () => {
  const run = await until(await tasks.trigger("sleep", { ms: 300 }), "EXECUTING");
  const first = await canceled(run);
  await finished(await tasks.trigger("sleep", { ms: 600 }));
  const later = await canceled(run);
  assertCanceled(later);
  assert.deepEqual(later.finishedAt, first.finishedAt);
});

test("a run that has ended is left as it is", async () => {
  const done = await finished(await tasks.trigger("echo", { n: 1 }));
  assert.deepEqual(await canceled(done), done);
});

test("the server runs other tasks after it has stopped many", async () => {
  const handles = await Promise.all(Array.from({ length: 10 }, () => tasks.trigger("spin", {})));
  await Promise.all(handles.map((handle) => runs.cancel(handle.id)));
  assert.equal((await finished(await tasks.trigger("echo", {}))).status, "COMPLETED");
});

test("a run that does not exist cannot be canceled", async () => {
  const error = await refusal(() => runs.cancel("run_0000000000000000000000000"));
  assert.ok(error instanceof NotFoundError, String(error));
});
