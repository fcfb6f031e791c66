// What happens to runs that must wait their turn: this server runs one at a time.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { runs, tasks } from "@trigger.dev/sdk";
import { finished, startServer, until } from "../harness.mjs";

let server;

before(async () => {
  server = await startServer("--max-concurrent-runs", "1");
  await server.deploy("echo_v1", "sleep");
});
after(() => server.stop());

/** Takes the only place until the answer is called. */
async function blocked() {
  const blocker = await tasks.trigger("sleep", { ms: 600_000 });
  await until(blocker, "EXECUTING");
  return () => runs.cancel(blocker.id);
}

test("a run waits in the queue, and says so", async () => {
  const release = await blocked();
  const handle = await tasks.trigger("echo", {});
  const run = await runs.retrieve(handle);
  assert.equal(run.status, "QUEUED");
  assert.equal(run.isQueued, true);
  assert.equal(run.isExecuting, false);
  assert.equal(run.startedAt, undefined);
  await release();
  assert.equal((await finished(handle)).status, "COMPLETED");
});

test("a queued run is canceled and never starts, and its neighbours go on", async () => {
  const release = await blocked();
  const handles = [];
  for (let n = 0; n < 6; n += 1) handles.push(await tasks.trigger("echo", { n }));
  const victims = handles.filter((_, index) => index % 2 === 0);
  await Promise.all(victims.map((handle) => runs.cancel(handle.id)));
  for (const victim of victims) {
    const run = await runs.retrieve(victim);
    assert.equal(run.status, "CANCELED");
    assert.equal(run.startedAt, undefined);
  }
  await release();
  const ended = await Promise.all(handles.map((handle) => finished(handle)));
  const expected = ["CANCELED", "COMPLETED", "CANCELED", "COMPLETED", "CANCELED", "COMPLETED"];
  assert.deepEqual(ended.map((run) => run.status), expected);
});

test("a priority is a head start in seconds", async () => {
  const release = await blocked();
  const first = await tasks.trigger("echo", {});
  const urgent = await tasks.trigger("echo", {}, { priority: 60 });
  await release();
  const [ordinary, ahead] = await Promise.all([finished(first), finished(urgent)]);
  assert.ok(ahead.startedAt <= ordinary.startedAt, "the urgent run should have started first");
});

test("a run that waits longer than its time to live expires, and polling ends", async () => {
  const release = await blocked();
  const handle = await tasks.trigger("echo", {}, { ttl: 1 });
  const run = await runs.poll(handle, { pollIntervalMs: 100 });
  await release();
  assert.equal(run.status, "EXPIRED");
  assert.equal(run.isCompleted, true);
  assert.ok(run.expiredAt instanceof Date);
  assert.equal(run.startedAt, undefined);
});

test("an expired run can be replayed", async () => {
  const release = await blocked();
  const expired = await until(await tasks.trigger("echo", { n: 3 }, { ttl: 1 }), "EXPIRED");
  const replay = await runs.replay(expired.id);
  await release();
  const run = await finished(replay.id);
  assert.equal(run.status, "COMPLETED");
  assert.deepEqual(run.output.payload, { n: 3 });
  assert.equal(run.ttl, "10m", "the default of development, and not that of its source");
});
