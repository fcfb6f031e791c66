// deployments.*: the versions of an environment, page by page, and the one that is current.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NotFoundError, deployments } from "@trigger.dev/sdk";
import { refusal, startServer } from "../harness.mjs";

let server;
// Newest first.
const versions = [];

before(async () => {
  server = await startServer();
});
after(() => server.stop());

test("nothing is current before the first deployment", async () => {
  const error = await refusal(() => deployments.retrieveCurrent());
  assert.ok(error instanceof NotFoundError);
  assert.deepEqual((await deployments.list()).data, []);
});

test("the current deployment is the one that was promoted last", async () => {
  for (const guest of ["echo_v1", "echo_v2", "meta"]) versions.unshift((await server.deployAs("one", guest)).version);
  const current = await deployments.retrieveCurrent();
  assert.equal(current.version, versions[0]);
  assert.equal(current.status, "DEPLOYED");
  assert.ok(current.createdAt instanceof Date && current.deployedAt instanceof Date);
  const promoted = await server.fetch(`/api/v1/deployments/${versions[2]}/promote`, { method: "POST" });
  assert.equal((await promoted.json()).version, versions[2]);
  assert.equal((await deployments.retrieveCurrent()).version, versions[2]);
});

test("lists every deployment, page by page", async () => {
  const first = await deployments.list({ limit: 2 });
  assert.deepEqual(first.data.map((deployment) => deployment.version), versions.slice(0, 2));
  assert.ok(first.hasNextPage());
  const second = await first.getNextPage();
  assert.deepEqual(second.data.map((deployment) => deployment.version), versions.slice(2));
  assert.ok(!second.hasNextPage());
  const seen = [];
  for await (const deployment of deployments.list({ limit: 1 })) seen.push(deployment.version);
  assert.deepEqual(seen, versions);
});

test("filters by status and by time", async () => {
  const listed = async (filter) => (await deployments.list(filter)).data.map((deployment) => deployment.version);
  assert.deepEqual(await listed({ status: "DEPLOYED" }), versions);
  assert.deepEqual(await listed({ status: "FAILED" }), []);
  assert.deepEqual(await listed({ period: "1h" }), versions);
  assert.deepEqual(await listed({ from: new Date(Date.now() - 3_600_000).toISOString() }), versions);
  assert.deepEqual(await listed({ to: new Date(Date.now() - 3_600_000).toISOString() }), []);
  assert.equal((await refusal(() => deployments.list({ status: "NOTHING" }))).status, 400);
});

test("another environment has its own deployments", async () => {
  const staging = server.client({ accessToken: server.keys.stg });
  assert.deepEqual((await staging.deployments.list()).data, []);
});
