// Runs that wait for a token, a moment or their children, as the official client sees and moves them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { batch, idempotencyKeys, runs, tasks, wait } from "@trigger.dev/sdk";
import { assertNear, finished, startServer, until } from "../harness.mjs";

const NEVER_MS = 3_600_000;

let server;

before(async () => {
  server = await startServer();
  await server.deploy("script", "echo_v1");
});
after(() => server.stop());

const leaf = (payload, rest = {}) => ({ task: "leaf", payload, ...rest });

/** The token that a waiting script made. */
async function tokenOf(handle) {
  const { metadata } = await until(handle, "WAITING");
  return metadata.token;
}

test("a run waits for a token that the client completes", async () => {
  const handle = await tasks.trigger("script", [{ log: "before" }, { create_token: {} }, { token: "$last" }]);
  const waiting = await until(handle, "WAITING");
  assert.deepEqual(
    [waiting.isWaiting, waiting.isQueued, waiting.isExecuting, waiting.isCompleted, waiting.attemptCount],
    [true, false, false, false, 1],
  );
  assert.equal(waiting.output, undefined);
  assert.equal(waiting.finishedAt, undefined);

  const { token } = waiting.metadata;
  assert.equal((await wait.retrieveToken(token.id)).status, "WAITING");
  assert.deepEqual(await wait.completeToken(token.id, { approved: true, by: "Ada" }), { success: true });

  const ended = await finished(handle);
  assert.equal(ended.status, "COMPLETED");
  assert.equal(ended.isWaiting, false);
  assert.deepEqual(ended.output, [null, { is_cached: false }, { completed: { approved: true, by: "Ada" } }]);
  assert.equal(ended.attemptCount, 1, "who waited is not retried");
  assert.deepEqual((await wait.retrieveToken(token.id)).output, { approved: true, by: "Ada" });
});

test("a run waits for a token that its callback completes", async () => {
  const handle = await tasks.trigger("script", [{ create_token: { timeout_ms: NEVER_MS } }, { token: "$last" }]);
  const token = await tokenOf(handle);
  assertNear((await wait.retrieveToken(token.id)).timeoutAt, Date.now() + NEVER_MS, "timeoutAt");

  const called = await fetch(token.url, { method: "POST", body: JSON.stringify({ paid: 7 }) });

  assert.deepEqual(await called.json(), { success: true });
  assert.deepEqual((await finished(handle)).output.at(-1), { completed: { paid: 7 } });
});

test("a run waits for a token of the client, which may be completed before it waits", async () => {
  const [first, second] = [await wait.createToken({ timeout: "1h" }), await wait.createToken({ timeout: "1h" })];
  await wait.completeToken(second, "early");
  const handle = await tasks.trigger("script", [{ token: second.id }, { token: first.id }]);
  await until(handle, "WAITING");
  await wait.completeToken(first, "late");
  assert.deepEqual((await finished(handle)).output, [{ completed: "early" }, { completed: "late" }]);
});

test("a run goes on without an answer when its token times out", async () => {
  const handle = await tasks.trigger("script", [{ create_token: { timeout_ms: 50 } }, { token: "$last" }]);
  const { output } = await finished(handle);
  assert.match(output[1].error, /time/i);
});

test("a subscriber sees a run wait and end", async () => {
  const handle = await tasks.trigger("script", [{ create_token: {} }, { token: "$last" }]);
  const seen = [];
  let last;
  for await (const run of runs.subscribeToRun(handle.id)) {
    if (seen.at(-1) !== run.status) seen.push(run.status);
    if (run.status === "WAITING" && !last?.isWaiting) {
      assert.equal(run.isWaiting, true);
      await wait.completeToken(run.metadata.token.id, 1);
    }
    last = run;
  }
  assert.ok(seen.includes("WAITING"), `it waited: ${seen}`);
  assert.equal(seen.at(-1), "COMPLETED");
  assert.deepEqual(last.output.at(-1), { completed: 1 });
});

test("a canceled run that waits takes its children with it", async () => {
  const handle = await tasks.trigger("script", [
    { all: [{ child: leaf({ wait_ms: NEVER_MS }) }, { child: leaf({}, { delay_ms: NEVER_MS }) }] },
  ]);
  const { relatedRuns } = await until(handle, "WAITING");
  assert.equal(relatedRuns.children.length, 2);
  const [waiting, delayed] = relatedRuns.children.map((child) => child.id).sort();
  await until(waiting, "WAITING");
  assert.equal((await runs.retrieve(delayed)).status, "DELAYED");

  await runs.cancel(handle.id);

  for (const run of [handle.id, waiting, delayed]) {
    const canceled = await runs.retrieve(run);
    assert.deepEqual([canceled.status, canceled.isWaiting, canceled.isCancelled], ["CANCELED", false, true]);
  }
});

test("a canceled child is a failure that its parent hears of", async () => {
  const handle = await tasks.trigger("script", [{ child: leaf({ wait_ms: NEVER_MS }) }]);
  const { relatedRuns } = await until(handle, "WAITING");
  await runs.cancel(relatedRuns.children[0].id);
  const ended = await finished(handle);
  assert.equal(ended.status, "COMPLETED");
  assert.match(ended.output[0].error, /cancel/i);
});

test("waiting runs are listed as such", async () => {
  const handle = await tasks.trigger("script", [{ wait_ms: NEVER_MS }], { tags: ["listed"] });
  const other = await tasks.trigger("echo", 1, { tags: ["listed"] });
  await finished(other);
  await until(handle, "WAITING");
  const ids = async (filter) => (await runs.list({ tag: "listed", ...filter })).data.map((run) => run.id);
  assert.deepEqual(await ids({ status: "WAITING" }), [handle.id]);
  assert.deepEqual(await ids({ status: ["WAITING", "COMPLETED"] }), [other.id, handle.id]);
  assert.deepEqual(await ids({ status: ["QUEUED", "EXECUTING"] }), []);
  const [listed] = (await runs.list({ tag: "listed", status: "WAITING" })).data;
  assert.deepEqual([listed.status, listed.isWaiting, listed.isExecuting], ["WAITING", true, false]);
  await runs.cancel(handle.id);
  assert.deepEqual(await ids({ status: "WAITING" }), []);
});

test("a waiting run is replayed, and waits on", async () => {
  const handle = await tasks.trigger("script", [{ create_token: {} }, { token: "$last" }]);
  const token = await tokenOf(handle);

  const replay = await runs.replay(handle.id);
  assert.notEqual(replay.id, handle.id);
  const again = await tokenOf(replay);
  assert.notEqual(again.id, token.id, "the replay waits for a token of its own");
  await wait.completeToken(again.id, "replay");

  assert.deepEqual((await finished(replay)).output.at(-1), { completed: "replay" });
  assert.equal((await runs.retrieve(handle)).status, "WAITING");
  await wait.completeToken(token.id, "original");
  assert.deepEqual((await finished(handle)).output.at(-1), { completed: "original" });
});

test("a batch that a task made is retrieved, and its children know their family", async () => {
  const script = [{ children: [leaf({ echo: 1 }), leaf({ echo: 2 })] }];
  const root = await tasks.trigger("script", [{ child: { task: "script", payload: script } }]);
  const ended = await finished(root);
  assert.deepEqual(ended.output, [{ output: [[{ output: 1 }, { output: 2 }]] }]);

  const parent = await runs.retrieve(ended.relatedRuns.children[0].id);
  assert.equal(parent.relatedRuns.parent.id, root.id);
  assert.equal(parent.relatedRuns.root.id, root.id);
  assert.equal(parent.depth, 1);
  assert.equal(parent.relatedRuns.children.length, 2);
  const children = await Promise.all(parent.relatedRuns.children.map(({ id }) => runs.retrieve(id)));
  for (const child of children) {
    assert.equal(child.relatedRuns.parent.id, parent.id);
    assert.equal(child.relatedRuns.parent.taskIdentifier, "script");
    assert.equal(child.relatedRuns.root.id, root.id);
    assert.equal(child.depth, 2);
    assert.equal(child.batchId, children[0].batchId);
  }
  const made = await batch.retrieve(children[0].batchId);
  assert.equal(made.status, "COMPLETED");
  assert.equal(made.runCount, 2);
  assert.deepEqual(made.runs.toSorted(), children.map((child) => child.id).toSorted());
});

test("a global idempotency key is one for the client and a task", async () => {
  const key = await idempotencyKeys.create("shared", { scope: "global" });
  const handle = await tasks.trigger("leaf", { echo: "of the client" }, { idempotencyKey: key });
  const child = leaf({ echo: "of the task" }, { key: "shared", scope: "global" });
  const parent = await finished(await tasks.trigger("script", [{ child }]));
  assert.deepEqual(parent.output, [{ output: "of the client" }]);

  const own = leaf({ echo: "of the task" }, { key: "other", scope: "global" });
  await finished(await tasks.trigger("script", [{ child: own }]));
  const found = await tasks.trigger("leaf", {}, { idempotencyKey: await idempotencyKeys.create("other", { scope: "global" }) });
  assert.equal((await finished(found)).output, "of the task");
  assert.notEqual(found.id, handle.id);
});

test("a key of the run is another one for each run", async () => {
  const child = leaf({ echo: 1 }, { key: "mine" });
  const script = [{ child }, { child }];
  const ended = [await finished(await tasks.trigger("script", script)), await finished(await tasks.trigger("script", script))];
  const children = ended.map((run) => run.relatedRuns.children.map(({ id }) => id));
  assert.deepEqual(children.map((ids) => ids.length), [1, 1]);
  assert.notEqual(children[0][0], children[1][0]);
  const shown = await runs.retrieve(children[0][0]);
  assert.equal(shown.idempotencyKey, "mine");
});

test("the stream of a run that waits stays open and goes on", async () => {
  const handle = await tasks.trigger("script", [
    { stream: { name: "words", chunks: ["before"] } },
    { create_token: {} },
    { token: "$last" },
    { stream: { name: "words", chunks: ["after", "the end"] } },
  ]);
  const seen = [];
  for await (const chunk of await runs.fetchStream(handle.id, "words")) {
    seen.push(chunk);
    if (seen.length === 1) await wait.completeToken((await tokenOf(handle)).id, 1);
  }
  assert.deepEqual(seen, ["before", "after", "the end"]);
  assert.equal((await runs.retrieve(handle)).status, "COMPLETED");
});

test("a run that waits for a second is polled to its end", async () => {
  const handle = await tasks.trigger("script", [{ clock: true }, { wait_ms: 1_000 }, { clock: true }]);
  const run = await runs.poll(handle, { pollIntervalMs: 50 });
  assert.equal(run.status, "COMPLETED");
  const [before, elapsed, after] = run.output;
  assert.equal(elapsed, "elapsed");
  assert.ok(after - before >= 0.99e9, `${after - before} ns`);
  assert.ok(run.finishedAt - run.startedAt >= 990);
  assert.ok(run.durationMs < 900, `a run that waits uses nothing: ${run.durationMs} ms`);
});

test("a waiting run has no place in its queue", async () => {
  const queue = "narrow-waits";
  const options = { queue };
  const waiting = await tasks.trigger("script", [{ create_token: {} }, { token: "$last" }], options);
  const token = await tokenOf(waiting);
  const others = [];
  for (let n = 0; n < 3; n += 1) others.push(await tasks.trigger("leaf", { echo: n }, options));
  for (const [n, other] of others.entries()) assert.equal((await finished(other)).output, n);
  assert.equal((await runs.retrieve(waiting)).status, "WAITING");
  await wait.completeToken(token.id, 1);
  assert.equal((await finished(waiting)).status, "COMPLETED");
});
