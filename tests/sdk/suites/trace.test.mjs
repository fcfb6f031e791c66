// The trace of a run, as the client class of the SDK reads it: it checks every shape.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { apiClientManager } from "@trigger.dev/core/v3";
import { tasks } from "@trigger.dev/sdk";
import { finished, startServer } from "../harness.mjs";

let server;
let run;

before(async () => {
  server = await startServer();
  await server.deploy("spans");
  run = await finished(await tasks.trigger("spans", {}));
});
after(() => server.stop());

test("the tree of a run has its attempt and its spans", async () => {
  const { trace } = await apiClientManager.clientOrThrow().retrieveRunTrace(run.id);
  const root = trace.rootSpan;
  assert.equal(root.runId, run.id);
  assert.equal(root.data.startTime.getTime(), run.createdAt.getTime());
  const [attempt] = root.children;
  const outer = attempt.children.find((span) => span.data.message === "outer");
  assert.equal(outer.parentId, attempt.id);
  assert.deepEqual(outer.children.map((span) => span.data.message).sort(), ["failed", "inner", "inner"]);
});

test("pages of spans make up the same tree", async () => {
  const client = apiClientManager.clientOrThrow();
  const spans = [];
  let next;
  do {
    const page = await client.retrieveRunTracePage(run.id, { limit: 2, after: next });
    spans.push(...page.data);
    next = page.pagination.next;
  } while (next);
  assert.equal(spans.length, 7);
  assert.equal(new Set(spans.map((span) => span.id)).size, 7);
  const whole = await client.retrieveRunTracePage(run.id);
  assert.deepEqual(whole.data, spans);
});

test("one span has what happened in it", async () => {
  const client = apiClientManager.clientOrThrow();
  const { data } = await client.retrieveRunTracePage(run.id);
  const outer = data.find((span) => span.message === "outer");
  const span = await client.retrieveSpan(run.id, outer.id);
  assert.deepEqual(span.properties, { size: 4, label: "three" });
  assert.equal(span.events[0].properties.message, "after Small");
  assert.equal((await client.retrieveSpan(run.id, data[0].id)).parentId, null);
});
