// Chromium, and a page in it that keeps a record of all that must not happen: words on the console,
// errors of scripts, dialogs of the browser, requests to others, faults of the server.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
export const DESKTOP = { width: 1280, height: 860 };
export const PHONE = { width: 390, height: 844 };

/** Starts a browser. */
export function openBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** A fresh profile with a page in it. */
export async function openPage(browser, server, { viewport = DESKTOP, colorScheme = "light", isSignedIn = true } = {}) {
  const context = await browser.newContext({ viewport, colorScheme, baseURL: server.url, permissions: ["clipboard-read", "clipboard-write"] });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const visit = new Visit(page, server);
  if (isSignedIn) await visit.signIn();
  return visit;
}

/** A page, and what came to light while it was open. */
class Visit {
  constructor(page, server) {
    this.page = page;
    this.server = server;
    this.complaints = [];
    /** Answers that are meant to be refusals, by the end of their path. */
    this.refused = new Set();
    /** What the page asks for at once, before it knows whether anybody is signed in. */
    const asked = ["/api/v1/session", "/admin/v1/environments"];
    const complain = (text) => this.complaints.push(text);
    page.on("console", (message) => {
      const { url } = message.location();
      const isSignedOut = message.text().includes("401") && asked.some((path) => url.endsWith(path));
      const isMeant = isSignedOut || [...this.refused].some((path) => url.endsWith(path));
      if (["error", "warning"].includes(message.type()) && !isMeant) complain(`console: ${message.text()} (${url})`);
    });
    page.on("pageerror", (error) => complain(`error: ${error.stack}`));
    page.on("dialog", (dialog) => {
      complain(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      if (origin !== server.url && !["blob:", "data:"].includes(protocol)) complain(`request to ${request.url()}`);
    });
    page.on("response", (response) => {
      if (response.status() >= 500) complain(`${response.status()} of ${response.url()}`);
    });
  }

  /** Opens a place in the page, below `/dashboard/dev`. */
  async open(place = "") {
    await this.page.goto(`/dashboard/dev${place}`);
    await this.settled();
  }

  /** Waits until the page shows what it has asked for. */
  async settled() {
    await this.page.locator("h1").first().waitFor();
    await this.page.waitForFunction(() => document.querySelectorAll("[aria-busy=true]").length === 0);
  }

  async signIn() {
    await this.page.goto("/dashboard/");
    await this.page.getByLabel("Admin key").fill(this.server.adminKey);
    await this.page.getByRole("button", { name: "Sign in" }).click();
    await this.page.getByLabel("Admin key").waitFor({ state: "detached" });
    await this.settled();
  }

  /** An answer of this path is meant to be a refusal. */
  refuse(path) {
    this.refused.add(path);
  }

  /** Ends the visit; nothing must have come to light. */
  async close() {
    await this.page.context().close();
    assert.deepEqual(this.complaints, []);
  }
}
