// envvars.*: written and read through the client, and seen by tasks. `envvars.update` throws in the
// client itself (`name is not defined`), so that its request is sent by hand.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NotFoundError, envvars, tasks } from "@trigger.dev/sdk";
import { finished, refusal, startServer } from "../harness.mjs";

const REDACTED = "<redacted>";
let server;

before(async () => {
  server = await startServer();
  await server.deploy("env");
});
after(() => server.stop());

test("a variable is created, retrieved, listed and deleted", async () => {
  assert.deepEqual(await envvars.create("proj", "dev", { name: "ONE", value: "1" }), { success: true });
  assert.deepEqual(await envvars.retrieve("proj", "dev", "ONE"), { name: "ONE", value: "1", isSecret: false });
  await envvars.create("proj", "dev", { name: "ONE", value: "one" });
  assert.deepEqual(await envvars.list("proj", "dev"), [{ name: "ONE", value: "one", isSecret: false }]);
  assert.deepEqual(await envvars.del("proj", "dev", "ONE"), { success: true });
  assert.deepEqual(await envvars.list("proj", "dev"), []);
  for (const call of [() => envvars.retrieve("proj", "dev", "ONE"), () => envvars.del("proj", "dev", "ONE")]) {
    const error = await refusal(call);
    assert.ok(error instanceof NotFoundError);
    assert.match(error.message, /Environment variable not found/);
  }
});

test("many are uploaded at once, and replace others only when asked", async () => {
  const upload = (variables, override) => envvars.upload("proj", "dev", { variables, override });
  assert.deepEqual(await upload({ A: "1", B: "1" }), { success: true });
  await upload({ A: "2", C: "2" }, false);
  await upload({ B: "3" }, true);
  const values = Object.fromEntries((await envvars.list("proj", "dev")).map(({ name, value }) => [name, value]));
  assert.deepEqual(values, { A: "1", B: "3", C: "2" });
});

test("a secret is never shown again, and tasks have it", async () => {
  await envvars.create("proj", "dev", { name: "TOKEN", value: "s3cret", isSecret: true });
  assert.deepEqual(await envvars.retrieve("proj", "dev", "TOKEN"), { name: "TOKEN", value: REDACTED, isSecret: true });
  const listed = (await envvars.list("proj", "dev")).find((variable) => variable.name === "TOKEN");
  assert.deepEqual(listed, { name: "TOKEN", value: REDACTED, isSecret: true });
  const run = await finished(await tasks.trigger("env", {}));
  assert.equal(run.output.env.TOKEN, "s3cret");
});

test("a variable is updated, and the next run has the new value", async () => {
  const put = (name, body) =>
    server.fetch(`/api/v1/projects/proj/envvars/dev/${name}`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  await envvars.create("proj", "dev", { name: "CHANGED", value: "before" });
  const response = await put("CHANGED", { value: "after" });
  assert.deepEqual(await response.json(), { success: true });
  const run = await finished(await tasks.trigger("env", {}));
  assert.equal(run.output.env.CHANGED, "after");
  assert.equal((await put("NOBODY", { value: "x" })).status, 404);
});

test("what cannot be is refused, and changes nothing", async () => {
  const before = await envvars.list("proj", "dev");
  const bad = [
    () => envvars.create("proj", "dev", { name: "", value: "x" }),
    () => envvars.create("proj", "dev", { name: "1BAD", value: "x" }),
    () => envvars.create("proj", "dev", { name: "LONG", value: "x".repeat(64 * 1024 + 1) }),
    () => envvars.upload("proj", "dev", { variables: { GOOD: "1", "not good": "1" } }),
  ];
  for (const call of bad) assert.equal((await refusal(call)).status, 400);
  assert.deepEqual(await envvars.list("proj", "dev"), before);
});

test("a key opens the variables of its own environment only", async () => {
  assert.equal((await refusal(() => envvars.list("proj", "prod"))).status, 403);
  assert.equal((await refusal(() => envvars.list("proj", "nowhere"))).status, 404);
});
