// runs.bulk.*: one action on many runs.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ConflictError, NotFoundError, runs, tasks } from "@trigger.dev/sdk";
import { finished, refusal, startServer } from "../harness.mjs";

let server;
const made = [];

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1");
  for (let n = 0; n < 5; n++) made.push(await tasks.trigger("echo", { n }, { tags: ["five"] }));
  await Promise.all(made.map((handle) => finished(handle)));
});
after(() => server.stop());

test("runs of a filter are replayed, and the action is polled to its end", async () => {
  const { id } = await runs.bulk.replay({ filter: { tag: "five", status: ["COMPLETED"] }, name: "once more" });
  const action = await runs.bulk.poll(id, { pollIntervalMs: 50 });
  assert.equal(action.type, "REPLAY");
  assert.equal(action.status, "COMPLETED");
  assert.equal(action.name, "once more");
  assert.deepEqual(action.counts, { total: 5, success: 5, failure: 0 });
  assert.ok(action.completedAt instanceof Date);
  const replays = (await runs.list({ bulkAction: id })).data;
  assert.equal(replays.length, 5);
  await Promise.all(replays.map((run) => finished(run)));
});

test("delayed runs that are named are canceled", async () => {
  const one = await tasks.trigger("echo", {}, { delay: "1h" });
  const two = await tasks.trigger("echo", {}, { delay: "1h" });
  const { id } = await runs.bulk.cancel({ runIds: [one.id, two.id, made[0].id] });
  const action = await runs.bulk.poll(id, { pollIntervalMs: 50 });
  assert.equal(action.type, "CANCEL");
  assert.deepEqual(action.counts, { total: 3, success: 2, failure: 1 });
  assert.equal((await runs.retrieve(one.id)).status, "CANCELED");
  assert.equal((await runs.retrieve(two.id)).status, "CANCELED");
});

test("actions are listed, newest first, page by page", async () => {
  const types = [];
  for await (const action of runs.bulk.list({ limit: 1 })) types.push(action.type);
  assert.deepEqual(types, ["CANCEL", "REPLAY"]);
  const first = await runs.bulk.list({ limit: 1 });
  const second = await first.getNextPage();
  assert.equal(second.data[0].type, "REPLAY");
  assert.equal((await second.getPreviousPage()).data[0].type, "CANCEL");
});

test("an action that is over cannot be aborted, and an unknown one not be found", async () => {
  const { id } = (await runs.bulk.list()).data[0];
  assert.ok((await refusal(() => runs.bulk.abort(id))) instanceof ConflictError);
  assert.ok((await refusal(() => runs.bulk.retrieve("bulk_1"))) instanceof NotFoundError);
});
