// A server, and what is in it: tasks, and runs of them.

import assert from "node:assert/strict";
import { PATIENCE_MS, guest as bytesOf, startProcess, stopProcess } from "../server.mjs";

/** A server, ready. `settings` are more arguments. */
export async function startServer(...settings) {
  return new Server(await startProcess(...settings));
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
    const bytes = await bytesOf(guest);
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

  /** A batch of items `{task, payload, options}`, announced and sent; answers with its id. */
  async batch(items) {
    const { id } = await this.send("POST", "/api/v3/batches", { runCount: items.length });
    const response = await fetch(`${this.url}/api/v3/batches/${id}/items`, {
      method: "POST",
      headers: { authorization: `Bearer ${this.adminKey}`, "x-dacapo-environment": "dev", "content-type": "application/x-ndjson" },
      body: items.map((item, index) => JSON.stringify({ index, ...item })).join("\n"),
    });
    assert.ok(response.ok, await response.text());
    return id;
  }

  /** A backtest or a bulk action, once it is over. */
  async settled(kind, id) {
    const deadline = Date.now() + PATIENCE_MS;
    while (Date.now() < deadline) {
      const item = await this.send("GET", `/api/v1/${kind}/${id}`);
      if (item.status !== "PENDING") return item;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.fail(`${id} does not end`);
  }

  /** Runs a task to its end. */
  async call(task, payload, options, environment) {
    return this.finished(await this.trigger(task, payload, options, environment), environment);
  }

  /** Ends the server as an operator would; it must end well. */
  stop() {
    return stopProcess(this);
  }
}
