// runs.fetchStream and streams.input: what a run says bit by bit, and what is said to it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { runs, streams, tasks } from "@trigger.dev/sdk";
import { startServer } from "../harness.mjs";

let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1");
});
after(() => server.stop());

/** Writes as a run would. */
async function write(run, key, ...chunks) {
  const body = chunks.map((chunk) => `${JSON.stringify(chunk)}\n`).join("");
  const response = await server.fetch(`/realtime/v1/streams/${run}/self/${key}`, { method: "POST", body });
  assert.equal(response.status, 200, await response.text());
}

test("a stream is read while it grows, and ends with its run", async () => {
  const handle = await tasks.trigger("echo", {}, { delay: "1h" });
  await write(handle.id, "text", { word: "one" });
  const seen = [];
  for await (const chunk of await runs.fetchStream(handle.id, "text")) {
    seen.push(chunk);
    if (seen.length === 1) await write(handle.id, "text", "two", 3);
    if (seen.length === 3) await runs.cancel(handle.id);
  }
  assert.deepEqual(seen, [{ word: "one" }, "two", 3]);
});

test("something is said to a run", async () => {
  const handle = await tasks.trigger("echo", {}, { delay: "1h" });
  await streams.input({ id: "approval" }).send(handle.id, { yes: true });
  const seen = [];
  for await (const chunk of await runs.fetchStream(handle.id, "$input%2Fapproval")) {
    seen.push(chunk);
    await runs.cancel(handle.id);
  }
  assert.deepEqual(seen, [{ yes: true }]);
});

test("a subscription comes with the streams of its run", async () => {
  const handle = await tasks.trigger("echo", {}, { delay: "1h" });
  await write(handle.id, "words", "a", "b");
  const words = [];
  for await (const part of runs.subscribeToRun(handle.id).withStreams()) {
    if (part.type !== "words") continue;
    words.push(part.chunk);
    if (words.length === 2) break;
  }
  assert.deepEqual(words, ["a", "b"]);
  await runs.cancel(handle.id);
});
