// Preview branches: the client names one, and is in an environment of its own.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { NotFoundError, auth, envvars, runs, tasks } from "@trigger.dev/sdk";
import { refusal, startServer } from "../harness.mjs";

let server;
let key;

before(async () => {
  server = await startServer();
  key = await server.newKey("preview");
});
after(() => server.stop());

/** Does something in a branch. */
function on(previewBranch, call) {
  return auth.withAuth({ accessToken: key, baseURL: server.url, previewBranch }, call);
}

/** Deploys a guest to a branch, as the command line does. */
async function deployTo(branch, guest) {
  const body = await readFile(join(process.env.DACAPO_GUESTS_DIR, `${guest}.wasm`));
  const headers = { authorization: `Bearer ${key}`, "x-trigger-branch": branch, "content-type": "application/wasm" };
  const response = await server.fetch(`/api/v1/deployments?name=${guest}`, { method: "POST", headers, body });
  assert.equal(response.status, 201, await response.text());
}

/** The run in full, once it has ended. */
async function ended(handle) {
  return runs.poll(handle, { pollIntervalMs: 20 });
}

test("a branch that nothing was deployed to is not found", async () => {
  const error = await on("nobody", () => refusal(() => tasks.trigger("echo", {})));
  assert.ok(error instanceof NotFoundError);
  assert.match(error.message, /there is no branch `nobody`: deploy to it first/);
});

test("without a branch, a preview key says what is missing", async () => {
  const error = await on(undefined, () => refusal(() => runs.list()));
  assert.equal(error.status, 400);
  assert.match(error.message, /previewBranch/);
});

test("each branch has its own code, runs and variables", async () => {
  await deployTo("feature/one", "env");
  await deployTo("feature/two", "echo_v1");
  await on(undefined, () => envvars.create("proj", "preview", { name: "SHARED", value: "yes" }));
  const run = await on("feature/one", async () => {
    await envvars.create("proj", "preview", { name: "OWN", value: "one" });
    return ended(await tasks.trigger("env", {}));
  });
  assert.equal(run.status, "COMPLETED");
  assert.equal(run.output.env.SHARED, "yes");
  assert.equal(run.output.env.OWN, "one");
  await on("feature/two", async () => {
    assert.deepEqual((await runs.list()).data, []);
    assert.ok((await refusal(() => runs.retrieve(run.id))) instanceof NotFoundError);
    assert.deepEqual(await envvars.list("proj", "preview"), []);
  });
});

test("the branch comes from the environment as well", async () => {
  process.env.TRIGGER_PREVIEW_BRANCH = "refs/heads/feature/two";
  try {
    const run = await on(undefined, async () => ended(await tasks.trigger("echo", { n: 1 })));
    assert.deepEqual(run.payload, { n: 1 });
  } finally {
    delete process.env.TRIGGER_PREVIEW_BRANCH;
  }
});

test("a public token of a branch opens that branch", async () => {
  const [handle, token] = await on("feature/two", async () => {
    const handle = await tasks.trigger("echo", { n: 2 });
    return [handle, await auth.createPublicToken({ scopes: { read: { runs: [handle.id] } } })];
  });
  for (const accessToken of [token, handle.publicAccessToken]) {
    const run = await auth.withAuth({ accessToken, baseURL: server.url }, () => runs.retrieve(handle.id));
    assert.equal(run.id, handle.id);
  }
});
