// tasks.trigger: payloads of every kind, and every option that a backend can give.

import assert from "node:assert/strict";
import { createServer, request as httpRequest } from "node:http";
import { after, before, test } from "node:test";
import { idempotencyKeys, runs, tasks } from "@trigger.dev/sdk";
import { assertNear, finished, startServer } from "../harness.mjs";

const HOUR_MS = 3_600_000;
let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1", "fail", "flaky");
});
after(() => server.stop());

async function echoed(payload, options) {
  return finished(await tasks.trigger("echo", payload, options));
}

test("a handle names the run and carries a token", async () => {
  const handle = await tasks.trigger("echo", { a: 1 });

  assert.match(handle.id, /^run_\w+$/);
  assert.equal(handle.isCached, false);
  assert.equal(handle.publicAccessToken.split(".").length, 3);
  assert.equal((await finished(handle)).id, handle.id);
});

test("an object reaches the task and comes back", async () => {
  const payload = { text: "grüße 👋", list: [1, 2.5, null, { deep: true }], empty: {} };
  const run = await echoed(payload);

  assert.equal(run.status, "COMPLETED");
  assert.deepEqual(run.output.payload, payload);
  assert.deepEqual(run.payload, payload);
});

test("a string reaches the task as a string", async () => {
  for (const payload of ["plain text", '{"not":"parsed"}', 'with "quotes"\nand lines']) {
    const run = await echoed(payload);
    assert.equal(run.output.payload, payload);
    assert.equal(run.payload, payload);
  }
});

test("a date reaches the task as ISO text", async () => {
  const at = new Date(86_400_000);
  const run = await echoed({ at });

  assert.deepEqual(run.output.payload, { at: "1970-01-02T00:00:00.000Z" });
  assert.deepEqual(run.payload, { at: "1970-01-02T00:00:00.000Z" });
});

test("nothing at all reaches the task as null", async () => {
  assert.equal((await echoed(undefined)).output.payload, null);
  assert.equal((await echoed(null)).output.payload, null);
});

test("numbers and booleans reach the task as they are", async () => {
  for (const payload of [0, -1.5, 12_345_678_901, true, false]) {
    assert.equal((await echoed(payload)).output.payload, payload);
  }
});

test("tags are kept, sorted, and known to the task", async () => {
  const run = await echoed({}, { tags: ["user:2", "big"] });
  assert.deepEqual(run.tags, ["big", "user:2"]);
  assert.deepEqual(run.output.ctx.tags.toSorted(), ["big", "user:2"]);

  assert.deepEqual((await echoed({}, { tags: "one" })).tags, ["one"]);
});

test("metadata is kept", async () => {
  const run = await echoed({}, { metadata: { step: "first", nested: { n: 1 } } });
  assert.deepEqual(run.metadata, { step: "first", nested: { n: 1 } });
});

test("maxAttempts takes precedence over the task's retries", async () => {
  const once = await finished(await tasks.trigger("fail", {}, { maxAttempts: 1 }));
  assert.equal(once.status, "FAILED");
  assert.equal(once.attemptCount, 1);

  const twice = await finished(await tasks.trigger("flaky", { succeedOn: 2 }, { maxAttempts: 2 }));
  assert.equal(twice.status, "COMPLETED");
  assert.equal(twice.attemptCount, 2);
});

test("a delay is a duration or a date", async () => {
  for (const delay of ["1h", new Date(Date.now() + HOUR_MS)]) {
    const expected = Date.now() + HOUR_MS;
    const run = await runs.retrieve(await tasks.trigger("echo", {}, { delay }));
    assert.equal(run.status, "DELAYED");
    assert.equal(run.isQueued, true);
    assertNear(run.delayedUntil, expected, "delayedUntil");
    await runs.cancel(run.id);
  }
});

test("a delayed run runs when it is due, not before", async () => {
  const due = Date.now() + 1_000;
  const run = await echoed({}, { delay: new Date(due) });
  assert.equal(run.status, "COMPLETED");
  assert.ok(run.startedAt.getTime() >= due, `it started ${due - run.startedAt.getTime()} ms early`);
});

test("the same idempotency key finds the first run", async () => {
  const key = await idempotencyKeys.create("order-17", { scope: "global" });
  const first = await tasks.trigger("echo", { n: 1 }, { idempotencyKey: key });
  const second = await tasks.trigger("echo", { n: 2 }, { idempotencyKey: key });
  const other = await tasks.trigger("echo", { n: 3 }, { idempotencyKey: "another" });

  assert.deepEqual([first.isCached, second.isCached, other.isCached], [false, true, false]);
  assert.equal(second.id, first.id);
  assert.notEqual(other.id, first.id);
  const run = await finished(first);
  assert.equal(run.idempotencyKey, "order-17");
  assert.deepEqual(run.payload, { n: 1 });
});

test("the idempotency key of a failed run is free again", async () => {
  const options = { idempotencyKey: "fails", maxAttempts: 1 };
  const first = await tasks.trigger("fail", {}, options);
  assert.equal((await finished(first)).status, "FAILED");
  const second = await tasks.trigger("fail", {}, options);

  assert.equal(second.isCached, false);
  assert.notEqual(second.id, first.id);
});

test("an idempotency key may be given a time to live", async () => {
  const options = { idempotencyKey: "short", idempotencyKeyTTL: "1h" };
  const first = await tasks.trigger("echo", {}, options);
  assert.equal((await tasks.trigger("echo", {}, options)).id, first.id);
});

test("a run joins the queue it is given", async () => {
  assert.equal((await echoed({}, { queue: "reports" })).output.ctx.queue, "reports");
  assert.equal((await echoed({})).output.ctx.queue, "task/echo");
});

test("machine, priority, concurrency key and maximal duration are taken", async () => {
  const options = { machine: "small-2x", priority: 10, queue: "q", concurrencyKey: "user-1", maxDuration: 60 };
  assert.equal((await echoed({ ok: true }, options)).status, "COMPLETED");
});

test("a time to live is kept", async () => {
  const long = await tasks.trigger("echo", {}, { ttl: "10m", delay: "1h" });
  assert.equal((await runs.retrieve(long)).ttl, "10m");
  const short = await tasks.trigger("echo", {}, { ttl: 45, delay: "1h" });
  assert.equal((await runs.retrieve(short)).ttl, "45s");
});

test("a version pins the run", async () => {
  const v1 = await server.deploy("echo_v1");
  const v2 = await server.deploy("echo_v2");
  const pinned = await echoed({}, { version: v1 });
  const current = await echoed({});

  assert.equal(pinned.output.version, 1);
  assert.equal(pinned.version, v1);
  assert.equal(current.output.version, 2);
  assert.equal(current.version, v2);
});

test("a task that nobody has deployed yet waits for its version", async () => {
  const handle = await tasks.trigger("counter", {});
  const waiting = await runs.retrieve(handle);
  assert.equal(waiting.status, "PENDING_VERSION");
  assert.equal(waiting.isQueued, true);

  await server.deploy("counter");
  assert.equal((await finished(handle)).status, "COMPLETED");
});

test("a request that is sent twice makes one run", async () => {
  const send = () =>
    server.fetch("/api/v1/tasks/echo/trigger", {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-trigger-request-idempotency-key": "3f9a1c1e-5d0c-4f6e-9a53-0d4bb6d2a001",
      },
      body: JSON.stringify({ payload: { n: 1 } }),
    });
  const first = await (await send()).json();
  const second = await (await send()).json();

  assert.equal(second.id, first.id);
  assert.deepEqual([first.isCached, second.isCached], [false, false]);
});

test("a trigger whose answer was lost is retried by the client and makes one run", async () => {
  const proxy = await forgetfulProxy(server.url);
  try {
    const client = server.client({ baseURL: proxy.url });
    const handle = await client.tasks.trigger("lost-answer", {});

    assert.equal(proxy.requests.length, 2, "the client should have tried twice");
    assert.equal(proxy.requests[0], proxy.requests[1], "both tries carry the same key");
    const page = await runs.list({ taskIdentifier: "lost-answer" });
    assert.deepEqual(page.data.map((run) => run.id), [handle.id]);
  } finally {
    proxy.close();
  }
});

// Passes requests on, and hangs up instead of passing on the first answer.
async function forgetfulProxy(target) {
  const requests = [];
  const proxy = createServer((request, response) => {
    requests.push(request.headers["x-trigger-request-idempotency-key"]);
    const isFirst = requests.length === 1;
    const { method, headers } = request;
    const onward = httpRequest(new URL(request.url, target), { method, headers }, (answer) => {
      if (isFirst) {
        answer.resume().on("end", () => response.destroy());
        return;
      }
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const close = () => {
    proxy.close();
    proxy.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${proxy.address().port}`, requests, close };
}
