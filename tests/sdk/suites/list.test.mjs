// runs.list: pages forward and back, and filters.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BadRequestError, runs, tasks } from "@trigger.dev/sdk";
import { finished, refusal, startServer } from "../harness.mjs";

let server;
// The ids of the echo runs, newest first.
const echoes = [];
let failed;
let delayed;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1", "fail");
  for (let n = 0; n < 7; n += 1) {
    const handle = await tasks.trigger("echo", { n }, { tags: [n % 2 ? "odd" : "even", "all"] });
    await finished(handle);
    echoes.unshift(handle.id);
  }
  failed = await tasks.trigger("fail", {}, { maxAttempts: 1, tags: "bad" });
  await finished(failed);
  delayed = await tasks.trigger("echo", {}, { delay: "1h", queue: "later" });
});
after(() => server.stop());

const ids = (page) => page.data.map((run) => run.id);

async function listed(filter) {
  return ids(await runs.list(filter));
}

test("without a filter everything is listed, newest first", async () => {
  const page = await runs.list();
  assert.deepEqual(ids(page), [delayed.id, failed.id, ...echoes]);
  assert.equal(page.hasNextPage(), false);
  assert.equal(page.hasPreviousPage(), false);
});

test("an entry has what a list shows", async () => {
  const [run] = (await runs.list({ status: "COMPLETED", limit: 1 })).data;
  assert.equal(run.id, echoes[0]);
  assert.equal(run.taskIdentifier, "echo");
  assert.equal(run.status, "COMPLETED");
  assert.equal(run.isCompleted, true);
  assert.equal(run.isSuccess, true);
  assert.deepEqual(run.tags, ["all", "even"]);
  assert.equal(run.env.name, "dev");
  assert.ok(run.env.id.length > 0);
  assert.ok(run.createdAt instanceof Date && run.finishedAt instanceof Date);
});

test("pages lead forward and back again", async () => {
  const filter = { taskIdentifier: "echo", status: "COMPLETED", limit: 3 };
  const first = await runs.list(filter);
  const second = await first.getNextPage();
  const third = await second.getNextPage();

  assert.deepEqual(ids(first), echoes.slice(0, 3));
  assert.deepEqual(ids(second), echoes.slice(3, 6));
  assert.deepEqual(ids(third), echoes.slice(6));
  assert.deepEqual([first, second, third].map((page) => page.hasNextPage()), [true, true, false]);
  assert.deepEqual([first, second, third].map((page) => page.hasPreviousPage()), [false, true, true]);

  const back = await third.getPreviousPage();
  assert.deepEqual(ids(back), echoes.slice(3, 6));
  assert.deepEqual(ids(await back.getPreviousPage()), echoes.slice(0, 3));
});

test("a reader who went back can go forward again", async () => {
  const second = await (await runs.list({ taskIdentifier: "echo", status: "COMPLETED", limit: 2 })).getNextPage();
  const first = await second.getPreviousPage();
  assert.deepEqual(ids(await first.getNextPage()), ids(second));
});

test("a loop walks all pages", async () => {
  const seen = [];
  for await (const run of runs.list({ limit: 2 })) seen.push(run.id);
  assert.deepEqual(seen, [delayed.id, failed.id, ...echoes]);
});

test("a page that begins where it is told", async () => {
  const first = await runs.list({ limit: 4 });
  const after = await runs.list({ limit: 4, after: first.pagination.next });
  assert.deepEqual(ids(after), echoes.slice(2, 6));
});

test("filters by status, one or several", async () => {
  assert.deepEqual(await listed({ status: "FAILED" }), [failed.id]);
  assert.deepEqual(await listed({ status: ["DELAYED", "FAILED"] }), [delayed.id, failed.id]);
  assert.deepEqual(await listed({ status: "CRASHED" }), []);
});

test("filters by task, one or several", async () => {
  assert.deepEqual(await listed({ taskIdentifier: "fail" }), [failed.id]);
  assert.deepEqual(await listed({ taskIdentifier: ["echo", "fail"] }), [delayed.id, failed.id, ...echoes]);
  assert.deepEqual(await listed({ taskIdentifier: "nobody" }), []);
});

test("filters by time", async () => {
  const { createdAt } = await runs.retrieve(failed);
  assert.deepEqual(await listed({ from: createdAt }), [delayed.id, failed.id]);
  assert.deepEqual(await listed({ to: new Date(createdAt.getTime() - 1), taskIdentifier: "fail" }), []);
  assert.deepEqual(await listed({ period: "1h", taskIdentifier: "fail" }), [failed.id]);
});

test("filters add up", async () => {
  assert.deepEqual(await listed({ taskIdentifier: "echo", status: "DELAYED" }), [delayed.id]);
  assert.deepEqual(await listed({ taskIdentifier: "fail", status: "COMPLETED" }), []);
});

test("a status that does not exist is refused", async () => {
  assert.ok((await refusal(() => runs.list({ status: "SLEEPY" }))) instanceof BadRequestError);
});

test("another environment's runs are not listed", async () => {
  const staging = server.client({ accessToken: server.keys.stg });
  assert.deepEqual(ids(await staging.runs.list()), []);
});
