// A real server process with an empty data directory, and what is in it: tasks, and runs of them.
//
// DACAPO_BIN is the server, DACAPO_GUESTS_DIR the directory of the compiled guests; `cargo xtask
// test --only page` builds both and sets them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

// Longest wait for anything, in milliseconds.
const PATIENCE_MS = 60_000;

/** A server, ready. */
export async function startServer() {
  const dataDir = await mkdtemp(join(tmpdir(), "dacapo-page-"));
  const settings = ["--json", "server", "--listen", "127.0.0.1:0", "--data-dir", dataDir, "--shutdown-grace", "1s"];
  const child = spawn(required("DACAPO_BIN"), settings, { stdio: ["ignore", "pipe", "ignore"] });
  const ended = new Promise((resolve) => child.on("close", (code, signal) => resolve(signal ?? code)));
  const url = await new Promise((resolve, reject) => {
    const line = createInterface({ input: child.stdout });
    line.on("line", (text) => {
      const address = /"(http:\/\/127\.0\.0\.1:\d+)"/.exec(text)?.[1];
      if (address) resolve(address);
    });
    void ended.then((end) => reject(new Error(`the server did not start: ${end}`)));
    setTimeout(() => reject(new Error("the server did not start in time")), PATIENCE_MS).unref();
  });
  const adminKey = (await readFile(join(dataDir, "admin.key"), "utf8")).trim();
  return new Server({ child, ended, dataDir, url, adminKey });
}

class Server {
  constructor(parts) {
    Object.assign(this, parts);
  }

  /** A request with the admin key; the answer's JSON. `environment` is where it is to happen. */
  async send(method, path, body, environment = "dev") {
    const headers = { authorization: `Bearer ${this.adminKey}`, "x-dacapo-environment": environment };
    const isBytes = body instanceof Uint8Array;
    if (body !== undefined) headers["content-type"] = isBytes ? "application/wasm" : "application/json";
    const text = isBytes ? body : body && JSON.stringify(body);
    const response = await fetch(this.url + path, { method, headers, body: text });
    const answer = await response.text();
    assert.ok(response.ok, `${method} ${path} answered ${response.status}: ${answer}`);
    return answer === "" ? undefined : JSON.parse(answer);
  }

  /** Deploys a guest under a name, and answers with the version. */
  async deploy(guest, { name = guest.replace(/_v\d$/, ""), query = "", environment } = {}) {
    const bytes = await readFile(join(required("DACAPO_GUESTS_DIR"), `${guest}.wasm`));
    const path = `/api/v1/deployments?name=${name}${query}`;
    const made = await this.send("POST", path, new Uint8Array(bytes), environment);
    return made.deployment.version;
  }

  /** Triggers a task, and answers with the id of the run. */
  async trigger(task, payload, options = {}, environment) {
    return (await this.send("POST", `/api/v1/tasks/${task}/trigger`, { payload, options }, environment)).id;
  }

  /** The run in full, once it has ended. */
  async finished(id, environment) {
    const deadline = Date.now() + PATIENCE_MS;
    while (Date.now() < deadline) {
      const run = await this.send("GET", `/api/v3/runs/${id}`, undefined, environment);
      if (run.isCompleted) return run;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.fail(`${id} does not end`);
  }

  /** Runs a task to its end. */
  async call(task, payload, options, environment) {
    return this.finished(await this.trigger(task, payload, options, environment), environment);
  }

  /** Ends the server as an operator would; it must end well. */
  async stop() {
    this.child.kill("SIGTERM");
    assert.equal(await this.ended, 0);
    await rm(this.dataDir, { recursive: true, force: true });
  }
}

function required(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run \`cargo xtask test --only page\``);
  return value;
}
