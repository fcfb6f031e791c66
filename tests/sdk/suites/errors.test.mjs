// What is refused is refused at once, with the error class that its reason has.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  AuthenticationError,
  BadRequestError,
  NotFoundError,
  UnprocessableEntityError,
  runs,
  tasks,
} from "@trigger.dev/sdk";
import { finished, refusal, startServer } from "../harness.mjs";

let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1", "schema");
});
after(() => server.stop());

const NOBODY = "run_0000000000000000000000000";

function assertRefused(error, status, ...classes) {
  assert.ok(classes.some((kind) => error instanceof kind), `${error.constructor.name}: ${error.message}`);
  assert.equal(error.status, status);
  assert.equal(error.name, "TriggerApiError");
  assert.equal(typeof error.body, "object", "the body is JSON");
}

test("a wrong key", async () => {
  for (const accessToken of ["tr_dev_000000000000000000000000", "nonsense", `${server.keys.dev}x`]) {
    const client = server.client({ accessToken });
    assertRefused(await refusal(() => client.runs.list()), 401, AuthenticationError);
    assertRefused(await refusal(() => client.tasks.trigger("echo", {})), 401, AuthenticationError);
    assertRefused(await refusal(() => client.runs.retrieve(NOBODY)), 401, AuthenticationError);
  }
});

test("a run that does not exist", async () => {
  assertRefused(await refusal(() => runs.retrieve(NOBODY)), 404, NotFoundError);
});

test("an id that no run can have", async () => {
  for (const id of ["run_", "run_✂", "nonsense", "run_1"]) {
    const error = await refusal(() => runs.retrieve(id));
    assert.ok([400, 404].includes(error.status), `${id}: ${error}`);
  }
});

test("another environment's run", async () => {
  const run = await finished(await tasks.trigger("echo", {}));
  const staging = server.client({ accessToken: server.keys.stg });
  for (const call of [
    () => staging.runs.retrieve(run.id),
    () => staging.runs.cancel(run.id),
    () => staging.runs.replay(run.id),
  ]) {
    assertRefused(await refusal(call), 404, NotFoundError);
  }
});

test("options that make no sense", async () => {
  const senseless = {
    delay: "soon",
    ttl: "a while",
    machine: "huge",
    maxAttempts: 0,
    tags: Array.from({ length: 11 }, (_, n) => `tag-${n}`),
    version: "19990101.1",
    idempotencyKeyTTL: "long",
  };
  for (const [name, value] of Object.entries(senseless)) {
    const options = { idempotencyKey: `for-${name}`, [name]: value };
    const error = await refusal(() => tasks.trigger("echo", {}, options));
    assertRefused(error, error.status, BadRequestError, UnprocessableEntityError);
    assert.ok(error.message.length > 10, `${name}: ${error.message}`);
  }
});

test("too many tags, and a version that does not exist, are matters of the business", async () => {
  const tags = Array.from({ length: 11 }, (_, n) => `tag-${n}`);
  assertRefused(await refusal(() => tasks.trigger("echo", {}, { tags })), 422, UnprocessableEntityError);
  const version = "19990101.1";
  assertRefused(await refusal(() => tasks.trigger("echo", {}, { version })), 422, UnprocessableEntityError);
});

test("a tag that is too long", async () => {
  const error = await refusal(() => tasks.trigger("echo", {}, { tags: "x".repeat(129) }));
  assertRefused(error, error.status, BadRequestError, UnprocessableEntityError);
});

test("a payload that the task's schema does not allow", async () => {
  const error = await refusal(() => tasks.trigger("schema", { n: "seven" }));
  assertRefused(error, error.status, BadRequestError, UnprocessableEntityError);
  assert.match(JSON.stringify(error.body), /n/);
  assert.equal((await finished(await tasks.trigger("schema", { n: 7 }))).output, 8);
});

test("nothing refused has left a run behind", async () => {
  await refusal(() => tasks.trigger("refused", {}, { delay: "soon" }));
  await refusal(() => tasks.trigger("refused", {}, { version: "19990101.1" }));
  assert.deepEqual((await runs.list({ taskIdentifier: "refused" })).data, []);
});

test("a second client with its own key and address", async () => {
  const staging = server.client({ accessToken: server.keys.stg });
  const handle = await staging.tasks.trigger("echo", { n: 1 });
  const run = await staging.runs.retrieve(handle.id);
  assert.equal(run.id, handle.id);
  // Nothing is deployed in staging.
  assert.equal(run.status, "PENDING_VERSION");
  assert.deepEqual((await staging.runs.list()).data.map((item) => item.id), [handle.id]);
  await staging.runs.cancel(handle.id);
});

test("a base address that ends with a slash", async () => {
  const client = server.client({ baseURL: `${server.url}/` });
  assert.ok(Array.isArray((await client.runs.list()).data));
});

test("a body that is too large, or that nobody wants, does not keep the answer away", async () => {
  const body = JSON.stringify({ name: "A", value: "x".repeat(5 << 20) });
  const headers = { "content-type": "application/json" };
  for (const [method, path, status] of [
    ["POST", "/api/v1/projects/p/envvars/dev", 413],
    ["PUT", `/api/v1/runs/${NOBODY}/metadata`, 413],
    ["POST", "/api/v1/nothing/here", 404],
    ["DELETE", "/api/v1/runs", 405],
  ]) {
    for (let time = 0; time < 4; time++) {
      const answer = await server.fetch(path, { method, headers, body });
      assert.equal(answer.status, status, `${method} ${path}`);
      assert.equal(typeof (await answer.json()).error, "string");
    }
  }
  const nobody = await server.fetch("/api/v1/runs", { method: "PUT", headers: { ...headers, authorization: "Bearer x" }, body });
  assert.ok([401, 405].includes(nobody.status), `${nobody.status}`);
});
