// schedules.*: made, changed, paused and removed; their zones; and what they fire.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BadRequestError, NotFoundError, runs, schedules } from "@trigger.dev/sdk";
import { finished, refusal, startServer } from "../harness.mjs";

const NOBODY = "sched_00000000000000000000000001";

let server;

before(async () => {
  server = await startServer();
  await server.deploy("echo_v1");
});
after(() => server.stop());

test("a schedule is made, and changed by its deduplication key", async () => {
  const made = await schedules.create({
    task: "echo",
    cron: "0 3 * * *",
    timezone: "Europe/Berlin",
    externalId: "user_1",
    deduplicationKey: "same",
  });
  assert.match(made.id, /^sched_/);
  assert.equal(made.type, "IMPERATIVE");
  assert.equal(made.active, true);
  assert.equal(made.deduplicationKey, "same");
  assert.equal(made.externalId, "user_1");
  assert.equal(made.generator.expression, "0 3 * * *");
  assert.ok(made.generator.description.length > 5, made.generator.description);
  assert.ok(made.nextRun instanceof Date && made.nextRun > new Date());
  assert.equal(made.environments[0].type, "DEVELOPMENT");

  const again = await schedules.create({ task: "echo", cron: "30 4 * * *", deduplicationKey: "same" });
  assert.equal(again.id, made.id);
  assert.equal(again.generator.expression, "30 4 * * *");
  assert.equal(again.timezone, "UTC");
  assert.deepEqual(await schedules.retrieve(made.id), again);
  await schedules.del(made.id);
});

test("schedules are listed page by page", async () => {
  const keys = ["a", "b", "c"];
  const made = [];
  for (const key of keys) {
    made.push((await schedules.create({ task: "echo", cron: "0 3 * * *", deduplicationKey: key })).id);
  }
  const page = await schedules.list({ page: 2, perPage: 2 });
  assert.deepEqual(page.data.map((schedule) => schedule.id), [made[2]]);
  const walked = [];
  for await (const schedule of schedules.list({ perPage: 2 })) walked.push(schedule.id);
  assert.deepEqual(walked, made);
  for (const id of made) assert.equal((await schedules.del(id)).id, id);
  assert.deepEqual((await schedules.list()).data, []);
});

test("a schedule is updated, deactivated, activated and removed", async () => {
  const { id } = await schedules.create({ task: "echo", cron: "0 3 * * *", deduplicationKey: "k" });
  const updated = await schedules.update(id, { task: "echo", cron: "0 0 L * *", timezone: "Asia/Kolkata" });
  assert.equal(updated.generator.expression, "0 0 L * *");
  assert.equal(updated.timezone, "Asia/Kolkata");
  const off = await schedules.deactivate(id);
  assert.equal(off.active, false);
  assert.equal(off.nextRun ?? null, null);
  const on = await schedules.activate(id);
  assert.equal(on.active, true);
  assert.deepEqual(on.nextRun, updated.nextRun);
  assert.deepEqual(await schedules.del(id), { id });
  assert.ok((await refusal(() => schedules.retrieve(id))) instanceof NotFoundError);
});

test("the zones that are offered can be used", async () => {
  const { timezones } = await schedules.timezones();
  assert.ok(timezones.includes("UTC") && timezones.includes("America/New_York"));
  const others = (await schedules.timezones({ excludeUtc: true })).timezones;
  assert.ok(!others.includes("UTC") && others.includes("America/New_York"));
});

test("a wrong pattern or zone is refused with a reason", async () => {
  const wrong = async (change) => {
    const plan = { task: "echo", cron: "0 3 * * *", deduplicationKey: "wrong", ...change };
    const error = await refusal(() => schedules.create(plan));
    assert.ok(error instanceof BadRequestError, `${error}`);
    return error.message;
  };
  assert.match(await wrong({ cron: "every day" }), /cron pattern `every day` is wrong: it has 2 fields/);
  assert.match(await wrong({ cron: "61 3 * * *" }), /cron pattern `61 3 \* \* \*` is wrong/);
  assert.match(await wrong({ timezone: "Mars/Olympus" }), /`Mars\/Olympus` is not an IANA time zone/);
  assert.match(await wrong({ deduplicationKey: "" }), /`deduplicationKey`/);
});

test("a schedule that does not exist is not found", async () => {
  const plan = { task: "echo", cron: "0 3 * * *" };
  for (const call of [
    () => schedules.retrieve(NOBODY),
    () => schedules.update(NOBODY, plan),
    () => schedules.activate(NOBODY),
    () => schedules.deactivate(NOBODY),
    () => schedules.del(NOBODY),
  ]) {
    const error = await refusal(call);
    assert.ok(error instanceof NotFoundError, `${error}`);
    assert.match(error.message, /Schedule not found/);
  }
});

// A server that is set up through the SDK has no clock to move: this waits for the next minute.
test("a schedule fires a run that knows its schedule", { timeout: 150_000 }, async () => {
  const made = await schedules.create({ task: "echo", cron: "* * * * *", externalId: "e", deduplicationKey: "now" });
  let fired = [];
  while (fired.length === 0) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    fired = (await runs.list({ schedule: made.id })).data;
  }
  const run = await finished(fired[0].id);
  assert.equal(run.status, "COMPLETED");
  assert.equal(run.schedule.id, made.id);
  assert.equal(run.schedule.generator.expression, "* * * * *");
  assert.equal(run.payload.scheduleId, made.id);
  assert.equal(run.payload.externalId, "e");
  assert.deepEqual(new Date(run.payload.timestamp), made.nextRun);
  await schedules.del(made.id);
});
