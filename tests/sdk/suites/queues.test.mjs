// queues.*: live counts, pausing, limits; and runs.reschedule.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NotFoundError, queues, runs, tasks } from "@trigger.dev/sdk";
import { finished, refusal, startServer } from "../harness.mjs";

let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1");
  await finished(await tasks.trigger("echo", {}, { queue: "a b/c".replace(" ", "_") }));
});
after(() => server.stop());

test("lists queues, page by page", async () => {
  const page = await queues.list({ page: 1, perPage: 1 });
  assert.equal(page.data.length, 1);
  const names = [];
  for await (const queue of queues.list({ perPage: 1 })) names.push([queue.type, queue.name]);
  assert.deepEqual(names, [
    ["custom", "a_b/c"],
    ["task", "echo"],
  ]);
});

test("a queue whose name has a slash is found", async () => {
  const queue = await queues.retrieve({ type: "custom", name: "a_b/c" });
  assert.equal(queue.name, "a_b/c");
  assert.equal((await queues.retrieve(queue.id)).name, "a_b/c");
});

test("a paused queue starts nothing until it is resumed", async () => {
  const paused = await queues.pause({ type: "task", name: "echo" });
  assert.equal(paused.paused, true);
  const handle = await tasks.trigger("echo", { n: 1 });
  assert.equal((await queues.retrieve({ type: "task", name: "echo" })).queued, 1);
  assert.equal((await runs.retrieve(handle)).status, "QUEUED");
  assert.equal((await queues.resume({ type: "task", name: "echo" })).paused, false);
  assert.equal((await finished(handle)).status, "COMPLETED");
});

test("a limit is overridden and reset", async () => {
  const narrow = await queues.overrideConcurrencyLimit({ type: "task", name: "echo" }, 3);
  assert.equal(narrow.concurrencyLimit, 3);
  assert.equal(narrow.concurrency.override, 3);
  assert.equal((await queues.resetConcurrencyLimit({ type: "task", name: "echo" })).concurrencyLimit, null);
});

test("a queue that does not exist is not found", async () => {
  assert.ok((await refusal(() => queues.retrieve({ type: "custom", name: "nobody" }))) instanceof NotFoundError);
});

test("a delayed run is rescheduled", async () => {
  const handle = await tasks.trigger("echo", { n: 2 }, { delay: "1h" });
  const moved = await runs.reschedule(handle.id, { delay: "1s" });
  assert.equal(moved.status, "DELAYED");
  assert.equal((await finished(handle)).status, "COMPLETED");
});

test("runs are filtered by tag, queue, version, machine and test", async () => {
  const handle = await tasks.trigger("echo", {}, { tags: ["one", "two"], machine: "micro" });
  const run = await finished(handle);
  const listed = async (filter) => (await runs.list(filter)).data.map((run) => run.id);
  assert.deepEqual(await listed({ tag: "one" }), [handle.id]);
  assert.deepEqual(await listed({ tag: ["two", "three"], status: "COMPLETED" }), [handle.id]);
  assert.deepEqual(await listed({ machine: "micro" }), [handle.id]);
  assert.equal((await listed({ queue: { type: "custom", name: "a_b/c" } })).length, 1);
  assert.ok((await listed({ version: run.version })).includes(handle.id));
  assert.deepEqual(await listed({ isTest: true }), []);
});
