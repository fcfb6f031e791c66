// runs.poll: it returns for every way in which a run can end.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { runs, tasks } from "@trigger.dev/sdk";
import { startServer } from "../harness.mjs";

let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1", "sleep", "fail", "trap", "spin");
});
after(() => server.stop());

const poll = (run) => runs.poll(run, { pollIntervalMs: 25 });

test("until a run has completed", async () => {
  const run = await poll(await tasks.trigger("sleep", { ms: 300 }));
  assert.equal(run.status, "COMPLETED");
  assert.equal(run.output, 300);
  assert.ok(run.finishedAt - run.startedAt >= 290);
});

test("a run that has ended already, by its id", async () => {
  const first = await poll(await tasks.trigger("echo", { n: 1 }));
  const again = await poll(first.id);
  assert.deepEqual(again, first);
});

test("until a run has failed for good", async () => {
  const run = await poll(await tasks.trigger("fail", { name: "Broken", message: "still broken" }));
  assert.equal(run.status, "FAILED");
  assert.equal(run.attemptCount, 3);
  assert.equal(run.error.name, "Broken");
});

test("until a run has crashed", async () => {
  assert.equal((await poll(await tasks.trigger("trap", {}))).status, "CRASHED");
});

test("until a run has been canceled", async () => {
  const handle = await tasks.trigger("sleep", { ms: 600_000 });
  const polling = poll(handle);
  await runs.cancel(handle.id);
  assert.equal((await polling).status, "CANCELED");
});

test("until a run has timed out", async () => {
  // 500 looks at the client's most: 25 ms each would be too few for the five seconds of CPU.
  const run = await runs.poll(await tasks.trigger("spin", {}, { maxDuration: 5 }), { pollIntervalMs: 100 });
  assert.equal(run.status, "TIMED_OUT");
});

test("many at a time", async () => {
  const handles = await Promise.all(Array.from({ length: 50 }, (_, n) => tasks.trigger("echo", { n })));
  const ended = await Promise.all(handles.map(poll));
  assert.deepEqual(ended.map((run) => run.output.payload.n), Array.from({ length: 50 }, (_, n) => n));
});
