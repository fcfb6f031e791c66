// wait.*Token: wait tokens as objects, completed through the client, by their callback, or never.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { WaitpointTimeoutError, wait } from "@trigger.dev/sdk";
import { assertNear, refusal, startServer } from "../harness.mjs";

const NOBODY = "waitpoint_00000000000000000000000001";

let server;

before(async () => {
  server = await startServer();
});
after(() => server.stop());

test("a token waits until it is completed, once", async () => {
  const token = await wait.createToken({ timeout: "10m", tags: ["one", "two"] });
  assert.match(token.id, /^waitpoint_/);
  assert.equal(token.isCached, false);
  assert.ok(token.url.startsWith(`${server.url}/api/v1/waitpoints/tokens/${token.id}/callback/`), token.url);
  assert.ok(token.publicAccessToken.split(".").length === 3, "the client signs a token for it");
  const waiting = await wait.retrieveToken(token);
  assert.equal(waiting.status, "WAITING");
  assert.deepEqual(waiting.tags, ["one", "two"]);
  assert.equal(waiting.url, token.url);
  assertNear(waiting.timeoutAt, Date.now() + 600_000, "timeoutAt");
  assert.equal(waiting.completedAt, undefined);
  assert.equal(waiting.output, undefined);

  assert.deepEqual(await wait.completeToken(token, { ok: true, list: [1, null] }), { success: true });

  const completed = await wait.retrieveToken(token.id);
  assert.equal(completed.status, "COMPLETED");
  assert.deepEqual(completed.output, { ok: true, list: [1, null] });
  assert.equal(completed.error, undefined);
  assertNear(completed.completedAt, Date.now(), "completedAt");
  assert.deepEqual(await wait.completeToken(token, "late"), { success: true });
  assert.deepEqual(await wait.retrieveToken(token.id), completed);
});

test("a callback address completes its token without a key", async () => {
  const token = await wait.createToken();
  const wrong = await fetch(token.url.replace(/.$/, (char) => (char === "0" ? "1" : "0")), { method: "POST" });
  assert.equal(wrong.status, 401);
  const big = await fetch(token.url, { method: "POST", body: JSON.stringify("x".repeat(2 * 1024 * 1024)) });
  assert.equal(big.status, 413);
  assert.equal((await wait.retrieveToken(token)).status, "WAITING");

  const called = await fetch(token.url, { method: "POST", body: JSON.stringify({ status: "succeeded" }) });

  assert.equal(called.status, 200);
  assert.deepEqual(await called.json(), { success: true });
  assert.deepEqual((await wait.retrieveToken(token)).output, { status: "succeeded" });
});

test("a token that nobody completes in time has an error", async () => {
  const past = new Date(Date.now() - 1_000);
  const token = await wait.createToken({ timeout: past });
  let seen;
  do {
    await new Promise((resolve) => setTimeout(resolve, 10));
    seen = await wait.retrieveToken(token);
  } while (seen.status === "WAITING");
  assert.equal(seen.status, "TIMED_OUT");
  assert.ok(seen.error instanceof WaitpointTimeoutError, `${seen.error}`);
  assert.equal(seen.error.message, `Waitpoint timed out at ${past.toISOString()}`);
  assert.equal(seen.output, undefined);
  assert.deepEqual(await wait.completeToken(token, 1), { success: true });
  assert.equal((await wait.retrieveToken(token)).status, "TIMED_OUT");
});

test("the same key is the same token", async () => {
  const first = await wait.createToken({ idempotencyKey: "order-1", idempotencyKeyTTL: "1h" });
  const again = await wait.createToken({ idempotencyKey: "order-1", idempotencyKeyTTL: "1h" });
  assert.equal(again.id, first.id);
  assert.equal(again.isCached, true);
  const shown = await wait.retrieveToken(first);
  assert.equal(shown.idempotencyKey, "order-1");
  assertNear(shown.idempotencyKeyExpiresAt, Date.now() + 3_600_000, "idempotencyKeyExpiresAt");
});

test("tokens are listed by what they are, forward and back", async () => {
  const started = new Date();
  const made = [];
  for (let n = 0; n < 5; n += 1) made.push(await wait.createToken({ tags: ["page", `n${n}`] }));
  const newest = made.map((token) => token.id).reverse();
  await wait.completeToken(made[0], 1);

  const walked = [];
  for await (const token of wait.listTokens({ tags: ["page"], limit: 2 })) walked.push(token.id);
  assert.deepEqual(walked, newest);
  const first = await wait.listTokens({ tags: "page", limit: 2 });
  const second = await first.getNextPage();
  const back = await second.getPreviousPage();
  const forward = await back.getNextPage();
  const ids = (page) => page.data.map((token) => token.id);
  assert.deepEqual([ids(second), ids(back), ids(forward)], [newest.slice(2, 4), newest.slice(0, 2), newest.slice(2, 4)]);

  assert.deepEqual(ids(await wait.listTokens({ tags: ["page"], status: "COMPLETED" })), [made[0].id]);
  assert.deepEqual(ids(await wait.listTokens({ tags: ["n1", "n3"] })), [made[3].id, made[1].id]);
  assert.deepEqual(ids(await wait.listTokens({ tags: "page", from: started, period: "1h" })), newest);
  assert.deepEqual(ids(await wait.listTokens({ to: new Date(0) })), []);
});

test("what is wrong is refused with a reason", async () => {
  const tags = Array.from({ length: 11 }, (_, n) => `${n}`);
  const many = await refusal(() => wait.createToken({ tags }));
  assert.equal(many.status, 422);
  assert.match(many.message, /10 tags at most/);
  const timeout = await refusal(() => wait.createToken({ timeout: "soon" }));
  assert.equal(timeout.status, 400);
  assert.match(timeout.message, /`timeout` must be a duration/);
  for (const call of [() => wait.retrieveToken(NOBODY), () => wait.completeToken(NOBODY, 1)]) {
    const error = await refusal(call);
    assert.equal(error.status, 404);
    assert.match(error.message, /Waitpoint not found/);
  }
});
