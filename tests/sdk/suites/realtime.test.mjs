// runs.subscribeTo*: what a subscriber sees, and when it ends.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { auth, batch, runs, tasks } from "@trigger.dev/sdk";
import { finished, startServer } from "../harness.mjs";

let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1", "meta");
});
after(() => server.stop());

test("a run is followed to its end", async () => {
  const handle = await tasks.trigger("meta", [
    { op: "set", key: "a", value: 1 },
    { op: "sleep", ms: 800 },
  ]);
  const seen = [];
  let last;
  for await (const run of runs.subscribeToRun(handle.id)) {
    seen.push(run.status);
    last = run;
  }
  assert.equal(last.status, "COMPLETED");
  assert.ok(seen.includes("EXECUTING"), `it executed: ${seen}`);
  assert.equal(last.id, handle.id);
  assert.equal(last.metadata.a, 1);
  assert.ok(last.finishedAt instanceof Date && last.createdAt <= last.finishedAt);
});

test("of a run that has ended, a subscriber sees the end", async () => {
  const handle = await tasks.trigger("echo", { n: 1 }, { tags: ["x"] });
  await finished(handle);
  const seen = [];
  for await (const run of runs.subscribeToRun(handle.id)) seen.push(run);
  assert.equal(seen.length, 1);
  assert.equal(seen[0].status, "COMPLETED");
  assert.deepEqual(seen[0].payload, { n: 1 });
  assert.equal(seen[0].output.ctx.runId, handle.id);
  assert.deepEqual(seen[0].tags, ["x"]);
});

test("a canceled run ends its subscription", async () => {
  const handle = await tasks.trigger("echo", {}, { delay: "1h" });
  let last;
  for await (const run of runs.subscribeToRun(handle.id)) {
    last = run;
    if (run.status === "DELAYED") await runs.cancel(handle.id);
  }
  assert.equal(last.status, "CANCELED");
});

test("the runs of a tag are seen as they come and end", async () => {
  const ended = new Set();
  const before = await tasks.trigger("echo", { n: 1 }, { tags: ["user:7"] });
  let after;
  for await (const run of runs.subscribeToRunsWithTag("user:7", { createdAt: "1h" })) {
    after ??= await tasks.trigger("echo", { n: 2 }, { tags: ["user:7", "y"] });
    assert.ok(run.tags.includes("user:7"));
    if (run.status === "COMPLETED") ended.add(run.id);
    if (ended.size === 2) break;
  }
  assert.deepEqual([...ended].sort(), [before.id, after.id].sort());
});

test("the runs of a batch are followed", async () => {
  const made = await batch.trigger([{ id: "echo", payload: 1 }, { id: "echo", payload: 2 }]);
  const ended = new Set();
  for await (const run of runs.subscribeToBatch(made.batchId)) {
    if (run.status === "COMPLETED") ended.add(run.id);
    if (ended.size === 2) break;
  }
  const { runs: ids } = await batch.retrieve(made.batchId);
  assert.deepEqual([...ended].sort(), ids.toSorted());
});

test("a public token subscribes, and sees no column it is not to see", async () => {
  const handle = await tasks.trigger("echo", { secret: 1 });
  const token = await auth.createPublicToken({
    scopes: { read: { runs: [handle.id] } },
    realtime: { skipColumns: ["payload"] },
  });
  let last;
  await auth.withAuth({ accessToken: token, baseURL: server.url }, async () => {
    for await (const run of runs.subscribeToRun(handle.id)) last = run;
  });
  assert.equal(last.status, "COMPLETED");
  assert.equal(last.payload, undefined);
});
