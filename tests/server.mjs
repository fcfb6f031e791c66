// A real server process with an empty data directory, for tests in JavaScript.
//
// DACAPO_BIN is the server, DACAPO_GUESTS_DIR the directory of the compiled guests; `cargo xtask
// test` builds both and sets them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

// Longest wait for anything, in milliseconds.
export const PATIENCE_MS = 60_000;

/** A server process that is ready, with the key of its operator. `settings` are more arguments. */
export async function startProcess(...settings) {
  const dataDir = await mkdtemp(join(tmpdir(), "dacapo-test-"));
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
  return { child, ended, said, dataDir, url, adminKey: await keyFile(dataDir, "admin") };
}

/** Ends a server as an operator would; it must end well. */
export async function stopProcess({ child, ended, said, dataDir }) {
  child.kill("SIGTERM");
  const end = await within(ended, "the server's end");
  await rm(dataDir, { recursive: true, force: true });
  assert.equal(end, 0, `the server ended with ${end}; it said:\n${said.join("").slice(-4000)}`);
}

/** A key that the server keeps in a file. */
export async function keyFile(dataDir, name) {
  return (await readFile(join(dataDir, `${name}.key`), "utf8")).trim();
}

/** The bytes of a compiled guest. */
export function guest(name) {
  return readFile(join(required("DACAPO_GUESTS_DIR"), `${name}.wasm`));
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

function required(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run \`cargo xtask test --only sdk,page\``);
  return value;
}
