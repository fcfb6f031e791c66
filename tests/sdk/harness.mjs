// A real server process with an empty data directory, and the official client pointed at it.
//
// DACAPO_BIN is the server, DACAPO_GUESTS_DIR the directory of the compiled guests; `cargo xtask
// test --only sdk` builds both and sets them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { TriggerClient, configure, runs } from "@trigger.dev/sdk";

// Longest wait for anything, in milliseconds.
const PATIENCE_MS = 60_000;
const FINAL = ["COMPLETED", "CANCELED", "FAILED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT"];

// The settings of whoever runs the tests must not reach the client under test.
for (const name of Object.keys(process.env)) {
  if (name.startsWith("TRIGGER_")) delete process.env[name];
}

/** A server, ready, with the development key set for the client. `settings` are more arguments. */
export async function startServer(...settings) {
  const dataDir = await mkdtemp(join(tmpdir(), "dacapo-sdk-"));
  const child = spawn(
    required("DACAPO_BIN"),
    ["--json", "server", "--listen", "127.0.0.1:0", "--data-dir", dataDir, "--shutdown-grace", "1s", ...settings],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const ended = new Promise((resolve) => {
    child.on("error", (error) => resolve(`could not be started: ${error.message}`));
    child.on("close", (code, signal) => resolve(signal ?? code));
  });
  const said = [];
  child.stderr.setEncoding("utf8").on("data", (text) => said.push(text));
  const url = await within(firstAddress(child.stdout, ended, said), "the server's start");
  const key = async (name) => (await readFile(join(dataDir, `${name}.key`), "utf8")).trim();
  const keys = { dev: await key("dev"), stg: await newKey(url, await key("admin"), "stg") };
  configure({ baseURL: url, accessToken: keys.dev });
  return new Server({ child, ended, said, dataDir, url, keys });
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
    const body = await readFile(join(required("DACAPO_GUESTS_DIR"), `${guest}.wasm`));
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

  /** The key of the operator. */
  async adminKey() {
    return (await readFile(join(this.dataDir, "admin.key"), "utf8")).trim();
  }

  /** Another key, of an environment. */
  async newKey(environment) {
    return newKey(this.url, await this.adminKey(), environment);
  }

  /** Ends the server as an operator would; it must end well. */
  async stop() {
    this.child.kill("SIGTERM");
    const end = await within(this.ended, "the server's end");
    await rm(this.dataDir, { recursive: true, force: true });
    assert.equal(end, 0, `the server ended with ${end}; it said:\n${this.said.join("").slice(-4000)}`);
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

function required(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run \`cargo xtask test --only sdk\``);
  return value;
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

function firstAddress(stream, ended, said) {
  return new Promise((resolve, reject) => {
    createInterface({ input: stream }).on("line", (line) => {
      const address = line.match(/http:\/\/127\.0\.0\.1:\d+/);
      if (address) resolve(address[0]);
    });
    ended.then((end) => reject(new Error(`the server ended with ${end}:\n${said.join("")}`)));
  });
}

async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} takes longer than ${PATIENCE_MS} ms`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// Between two looks at a state, so that looking does not starve what is looked at.
function pause() {
  return new Promise((resolve) => setTimeout(resolve, 10));
}
