// Payloads that the client uploads before it triggers, and outputs that are large.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { runs, tasks } from "@trigger.dev/sdk";
import { finished, startServer } from "../harness.mjs";

// The client uploads packets from here on.
const OFFLOAD_BYTES = 131_072;
let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1", "huge_output");
});
after(() => server.stop());

test("a payload of 2 MB is uploaded, runs and comes back whole", async () => {
  const payload = { text: "é".repeat(1_000_000), at: new Date(0), set: new Set([1, 2]) };
  const run = await finished(await tasks.trigger("echo", payload));

  assert.equal(run.status, "COMPLETED");
  assert.equal(run.output.payload.text, payload.text);
  assert.equal(run.output.payload.at, "1970-01-01T00:00:00.000Z");
  assert.deepEqual(run.output.payload.set, [1, 2]);
  assert.equal(run.payload.text, payload.text);
});

test("both sides of the size from which packets are uploaded are the same to a task", async () => {
  // `{"json":""}` around the text.
  for (const bytes of [OFFLOAD_BYTES - 1, OFFLOAD_BYTES]) {
    const text = "x".repeat(bytes);
    assert.equal((await finished(await tasks.trigger("echo", text))).output.payload, text);
    const list = ["x".repeat(bytes - '{"json":[""]}'.length)];
    assert.deepEqual((await finished(await tasks.trigger("echo", list))).output.payload, list);
  }
});

test("a run with an uploaded payload is replayed with it", async () => {
  const payload = { text: "r".repeat(300_000) };
  const source = await finished(await tasks.trigger("echo", payload));
  const replay = await finished(await runs.replay(source.id));
  assert.equal(replay.output.ctx.isReplay, true);
  assert.deepEqual(replay.output.payload, payload);
});

test("an output of 2 MB comes back whole, retrieved and polled", async () => {
  const handle = await tasks.trigger("huge-output", { bytes: 2_000_000 });
  const polled = await runs.poll(handle, { pollIntervalMs: 50 });
  assert.equal(polled.status, "COMPLETED");
  assert.equal(polled.output, "x".repeat(2_000_000));
  assert.equal((await runs.retrieve(handle)).output, "x".repeat(2_000_000));
});
