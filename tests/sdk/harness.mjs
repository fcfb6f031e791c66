// The official client, pointed at a real server.

import assert from "node:assert/strict";
import { TriggerClient, configure, runs } from "@trigger.dev/sdk";
import { PATIENCE_MS, guest as bytesOf, keyFile, startProcess, stopProcess } from "../server.mjs";

const FINAL = ["COMPLETED", "CANCELED", "FAILED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT"];

// The settings of whoever runs the tests must not reach the client under test.
for (const name of Object.keys(process.env)) {
  if (name.startsWith("TRIGGER_")) delete process.env[name];
}

/** A server, ready, with the development key set for the client. `settings` are more arguments. */
export async function startServer(...settings) {
  const started = await startProcess(...settings);
  const { url, dataDir, adminKey } = started;
  const keys = { dev: await keyFile(dataDir, "dev"), stg: await newKey(url, adminKey, "stg") };
  configure({ baseURL: url, accessToken: keys.dev });
  return new Server({ ...started, keys });
}

class Server {
  constructor(parts) {
    Object.assign(this, parts);
  }

  /** Deploys guests, each under its own name, and returns the version of the last. */
  async deploy(...guests) {
    let version;
    for (const guest of guests) version = (await this.deployAs(guest.replace(/_v\d$/, ""), guest)).version;
    return version;
  }

  /** Deploys a guest under a name; the next of the same name takes its place. */
  async deployAs(name, guest) {
    const body = await bytesOf(guest);
    const response = await this.fetch(`/api/v1/deployments?name=${name}`, {
      method: "POST",
      headers: { "content-type": "application/wasm" },
      body,
    });
    const text = await response.text();
    assert.ok(response.ok, `deploying ${guest} answered ${response.status}: ${text}`);
    return JSON.parse(text).deployment;
  }

  /** A request that the client would not make. */
  fetch(path, { headers, ...init } = {}) {
    const authorization = `Bearer ${this.keys.dev}`;
    return fetch(`${this.url}${path}`, { ...init, headers: { authorization, ...headers } });
  }

  /** A client of its own, for another key or another address. */
  client(settings = {}) {
    return new TriggerClient({ baseURL: this.url, accessToken: this.keys.dev, ...settings });
  }

  /** Another key, of an environment. */
  async newKey(environment) {
    return newKey(this.url, this.adminKey, environment);
  }

  /** Ends the server as an operator would; it must end well. */
  stop() {
    return stopProcess(this);
  }
}

/** The run in full, once it has ended. */
export function finished(run) {
  return until(run, ...FINAL);
}

/** The run in full, once it has one of these statuses. */
export async function until(run, ...statuses) {
  const deadline = Date.now() + PATIENCE_MS;
  let seen;
  while (Date.now() < deadline) {
    seen = await runs.retrieve(run);
    if (statuses.includes(seen.status)) return seen;
    assert.ok(!seen.isCompleted, `${seen.id} should have become ${statuses}, but is ${seen.status}`);
    await pause();
  }
  assert.fail(`${seen.id} should have become ${statuses}, but is still ${seen.status}`);
}

/** Asserts that an instant lies within a second or so of where it is expected. */
export function assertNear(actual, expectedMs, what, toleranceMs = 5_000) {
  assert.ok(actual instanceof Date, `${what} should be a date, but is ${actual}`);
  const off = Math.abs(actual.getTime() - expectedMs);
  assert.ok(off <= toleranceMs, `${what} is ${actual.toISOString()}, which is ${off} ms off`);
}

/** The error that a call fails with, which must come at once and not after retries. */
export async function refusal(call, limitMs = 900) {
  const started = Date.now();
  const error = await call().then(
    (value) => assert.fail(`should have been refused, but answered ${JSON.stringify(value)}`),
    (error) => error,
  );
  const took = Date.now() - started;
  assert.ok(took < limitMs, `the refusal took ${took} ms: it was retried`);
  return error;
}

/** Another key, made as an operator would. */
async function newKey(url, adminKey, environment) {
  const response = await fetch(`${url}/admin/v1/keys`, {
    method: "POST",
    headers: { authorization: `Bearer ${adminKey}`, "content-type": "application/json" },
    body: JSON.stringify({ environment }),
  });
  const text = await response.text();
  assert.ok(response.ok, `making a key answered ${response.status}: ${text}`);
  return JSON.parse(text).key;
}

// Between two looks at a state, so that looking does not starve what is looked at.
function pause() {
  return new Promise((resolve) => setTimeout(resolve, 10));
}
