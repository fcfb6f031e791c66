//! Schedules: made by deployments and over the API, and fired once for every moment that counts.

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dacapo::clock::Clock;
use dacapo::config::ServerArgs;
use dacapo::model::Timestamp;
use dacapo::model::admission::DefaultTtl;
use dacapo::model::id::{EnvironmentId, RunId};
use dacapo::model::run::{Packet, Run, Status};
use dacapo::runs::Defaults;
use dacapo::schedules::{Left, Plan, Schedules};
use dacapo::storage::{Environment, EnvironmentKind, Place, RunFilter, Schedule, Storage};
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{Answer, PATIENCE, TestApp};

const NOBODY: &str = "/api/v1/schedules/sched_00000000000000000000000001";
const HOUR: Duration = Duration::from_secs(3_600);

async fn with_echo() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    half_past(&app);
    app
}

/// Moves the time to half past an hour, so that no hour begins while a test looks.
fn half_past(app: &TestApp) {
    let hour_ms = HOUR.as_millis() as i64;
    let now_ms = Clock::system().now().as_millisecond();
    let ahead_ms = (hour_ms / 2 - now_ms).rem_euclid(hour_ms);
    app.app().advance(Duration::from_millis(ahead_ms.unsigned_abs()));
}

async fn put(app: &TestApp, path: &str, body: Value) -> Answer {
    let request = Request::put(path).header("content-type", "application/json");
    app.send(&app.key, request, body.to_string()).await
}

async fn delete(app: &TestApp, path: &str) -> Answer {
    app.send(&app.key, Request::delete(path), Body::empty()).await
}

async fn create(app: &TestApp, body: Value) -> Value {
    app.post("/api/v1/schedules", body).await.ok()
}

fn hourly(task: &str, key: &str) -> Value {
    json!({ "task": task, "cron": "0 * * * *", "deduplicationKey": key })
}

fn path_of(schedule: &Value) -> String {
    format!("/api/v1/schedules/{}", schedule["id"].as_str().expect("a schedule has an id"))
}

async fn listed(app: &TestApp) -> Vec<Value> {
    app.get("/api/v1/schedules").await.ok()["data"].as_array().expect("a list").clone()
}

/// The runs that a schedule fired, newest first, as soon as there are this many.
async fn fired(app: &TestApp, schedule: &Value, count: usize) -> Vec<String> {
    let path = format!("/api/v1/runs?filter[schedule]={}", schedule["id"].as_str().unwrap());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let runs = app.get(&path).await.ok()["data"].take();
        let runs = runs.as_array().expect("a list");
        if runs.len() >= count {
            return runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
        }
        assert!(tokio::time::Instant::now() < deadline, "the schedule has fired {} times: {schedule}", runs.len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn instant(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("an instant: {value}"))
}

#[tokio::test]
async fn a_schedule_fires_and_its_run_is_told_when_and_why() {
    let app = with_echo().await;
    let body = json!({
        "task": "echo", "cron": "0 * * * *", "deduplicationKey": "k", "externalId": "user_1",
        "timezone": "europe/berlin",
    });
    let schedule = create(&app, body).await;
    assert_eq!(schedule["type"], "IMPERATIVE");
    assert_eq!(schedule["active"], true);
    assert_eq!(schedule["timezone"], "Europe/Berlin");
    let generator =
        json!({ "type": "CRON", "expression": "0 * * * *", "description": schedule["generator"]["description"] });
    assert_eq!(schedule["generator"], generator);
    assert_eq!(schedule["environments"][0]["type"], "DEVELOPMENT");
    let due = instant(&schedule["nextRun"]);

    app.app().advance(HOUR);

    let first = fired(&app, &schedule, 1).await.remove(0);
    let run = app.finished(&first).await;
    assert_eq!(run["status"], "COMPLETED");
    assert_eq!(run["output"]["payload"], run["payload"], "the guest is given what the run shows");
    let payload = &run["payload"];
    assert_eq!(payload["scheduleId"], schedule["id"]);
    assert_eq!(payload["type"], "IMPERATIVE");
    assert_eq!(instant(&payload["timestamp"]), due);
    assert_eq!(payload.get("lastTimestamp"), None);
    assert_eq!((&payload["externalId"], &payload["timezone"]), (&json!("user_1"), &json!("Europe/Berlin")));
    let upcoming: Vec<_> = payload["upcoming"].as_array().unwrap().iter().map(instant).collect();
    assert_eq!(upcoming, (1..=10).map(|n| due + HOUR * n).collect::<Vec<_>>());
    let shown = json!({
        "id": schedule["id"], "externalId": "user_1", "deduplicationKey": "k", "generator": generator,
    });
    assert_eq!(run["schedule"], shown);
    assert_eq!(instant(&app.get(&path_of(&schedule)).await.ok()["nextRun"]), due + HOUR);

    app.app().advance(HOUR);

    let second = fired(&app, &schedule, 2).await.remove(0);
    let payload = app.finished(&second).await["payload"].take();
    assert_eq!((instant(&payload["timestamp"]), instant(&payload["lastTimestamp"])), (due + HOUR, due));
}

#[tokio::test]
async fn what_was_missed_fires_once_as_of_the_last_moment() {
    let app = with_echo().await;
    let schedule = create(&app, hourly("echo", "k")).await;
    let due = instant(&schedule["nextRun"]);

    app.app().advance(72 * HOUR);

    let runs = fired(&app, &schedule, 1).await;
    let payload = app.finished(&runs[0]).await["payload"].take();
    assert_eq!(instant(&payload["timestamp"]), due + 71 * HOUR);
    let next = instant(&app.get(&path_of(&schedule)).await.ok()["nextRun"]);
    assert_eq!(next, instant(&payload["timestamp"]) + HOUR);
    app.app().advance(HOUR);
    assert_eq!(fired(&app, &schedule, 2).await.len(), 2, "71 moments have made no run");
}

#[tokio::test]
async fn a_schedule_is_made_changed_found_and_removed() {
    let app = with_echo().await;
    let first = create(&app, hourly("echo", "one")).await;
    let again = create(&app, json!({ "task": "other", "cron": "0 3 * * *", "deduplicationKey": "one" })).await;
    assert_eq!(again["id"], first["id"], "the same key is the same schedule");
    assert_eq!((&again["task"], &again["generator"]["expression"]), (&json!("other"), &json!("0 3 * * *")));
    let other = create(&app, hourly("echo", "two")).await;
    assert_ne!(other["id"], first["id"]);

    let page = app.get("/api/v1/schedules?page=2&perPage=1").await.ok();
    assert_eq!(page["data"][0]["id"], other["id"]);
    assert_eq!(page["pagination"], json!({ "currentPage": 2, "totalPages": 2, "count": 2 }));

    let path = path_of(&first);
    let changed =
        put(&app, &path, json!({ "task": "echo", "cron": "30 4 * * *", "timezone": "Asia/Kolkata" })).await.ok();
    assert_eq!(changed["nextRun"].as_str().unwrap()[11..], *"23:00:00.000Z");
    assert_eq!(changed["deduplicationKey"], "one");
    assert_eq!(app.get(&path).await.ok(), changed);

    assert_eq!(delete(&app, &path).await.ok(), json!({ "id": first["id"] }));
    assert_eq!(app.get(&path).await.error(404), "Schedule not found");
    assert_eq!(listed(&app).await.len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_said() {
    let app = TestApp::start().await;
    let refused = async |body: Value| app.post("/api/v1/schedules", body).await.error(400);
    let with = |name: &str, value: Value| {
        let mut body = hourly("echo", "k");
        body[name] = value;
        body
    };
    assert!(refused(with("cron", json!("every day"))).await.starts_with("cron pattern `every day` is wrong: it has 2"));
    assert!(refused(with("cron", json!("0 25 * * *"))).await.starts_with("cron pattern `0 25 * * *` is wrong"));
    assert!(refused(with("cron", json!("0 0 * * * *"))).await.contains("it has 6 fields instead of 5"));
    assert!(refused(with("cron", json!("1,".repeat(200)))).await.contains("longer than 256 characters"));
    assert!(refused(with("timezone", json!("Mars/Olympus"))).await.contains("is not an IANA time zone"));
    assert!(refused(with("task", json!(""))).await.contains("`task`"));
    assert!(refused(with("deduplicationKey", json!(""))).await.starts_with("`deduplicationKey` must have 1 to 512"));
    assert!(refused(with("externalId", json!("x".repeat(513)))).await.starts_with("`externalId` must have 1 to 512"));
    assert!(refused(json!({ "task": "echo", "cron": "* * * * *" })).await.contains("deduplicationKey"));
    let window = app.post("/api/v1/schedules", with("window", json!("30m"))).await.error(422);
    assert!(window.starts_with("window is not offered"), "{window}");
    assert_eq!(listed(&app).await.len(), 0, "nothing of that made a schedule");

    let plan = hourly("echo", "k");
    for path in [NOBODY, "/api/v1/schedules/nonsense"] {
        assert_eq!(app.get(path).await.error(404), "Schedule not found");
        assert_eq!(put(&app, path, plan.clone()).await.error(404), "Schedule not found");
        assert_eq!(delete(&app, path).await.error(404), "Schedule not found");
        for verb in ["activate", "deactivate"] {
            assert_eq!(app.post_empty(&format!("{path}/{verb}")).await.error(404), "Schedule not found");
        }
    }
    assert!(app.get("/api/v1/schedules?pages=2").await.error(400).starts_with("Query Error: `pages`"));
}

#[tokio::test]
async fn a_schedule_of_another_environment_is_not_found() {
    let app = with_echo().await;
    let schedule = create(&app, hourly("echo", "k")).await;
    let key = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok();
    let stranger = app.send(key["key"].as_str().unwrap(), Request::get(path_of(&schedule)), Body::empty()).await;
    assert_eq!(stranger.error(404), "Schedule not found");
}

#[tokio::test]
async fn an_inactive_schedule_does_not_fire_and_does_not_catch_up() {
    let app = with_echo().await;
    let off = create(&app, hourly("echo", "off")).await;
    let on = create(&app, hourly("echo", "on")).await;
    let path = path_of(&off);
    let inactive = app.post_empty(&format!("{path}/deactivate")).await.ok();
    assert_eq!((&inactive["active"], inactive.get("nextRun")), (&json!(false), None));
    let changed = put(&app, &path, json!({ "task": "echo", "cron": "0 * * * *" })).await.ok();
    assert_eq!((&changed["active"], changed.get("nextRun")), (&json!(false), None), "a change does not activate");
    let again = create(&app, hourly("echo", "off")).await;
    assert_eq!((&again["active"], again.get("nextRun")), (&json!(false), None));

    app.app().advance(5 * HOUR);
    // What is due fires in one pass.
    let due = instant(&app.run(&fired(&app, &on, 1).await[0]).await["payload"]["timestamp"]);
    let active = app.post_empty(&format!("{path}/activate")).await.ok();

    assert_eq!(instant(&active["nextRun"]), due + HOUR, "what passed meanwhile has passed");
    assert_eq!(app.post_empty(&format!("{path}/activate")).await.ok(), active, "once more changes nothing");
    app.app().advance(HOUR);
    let runs = fired(&app, &off, 1).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(instant(&app.finished(&runs[0]).await["payload"]["timestamp"]), due + HOUR);
}

#[tokio::test]
async fn deployments_bring_schedules_and_take_them() {
    let app = TestApp::start().await;
    half_past(&app);
    let (cleanup, echo) = (std::fs::read(guests::SAMPLE_NIGHTLY_CLEANUP), std::fs::read(guests::ECHO_V1));
    let (cleanup, echo) = (cleanup.unwrap(), echo.unwrap());
    let imperative = create(&app, hourly("echo", "stays")).await;
    let declared = async || {
        let mut all = listed(&app).await;
        all.retain(|schedule| schedule["type"] == "DECLARATIVE");
        all
    };

    app.upload("night", &cleanup, "&skipPromotion=true").await.ok();
    assert_eq!(declared().await.len(), 0, "only what is current fires");
    app.upload("night", &cleanup, "").await.ok();
    let found = declared().await;
    assert_eq!(found.len(), 1);
    let schedule = &found[0];
    assert_eq!((&schedule["task"], &schedule["timezone"]), (&json!("nightly-cleanup"), &json!("Europe/Berlin")));
    assert_eq!(schedule["generator"]["expression"], "15 3 * * *");
    assert_eq!(schedule.get("deduplicationKey"), None);

    app.app().advance(24 * HOUR);
    let runs = fired(&app, schedule, 1).await;
    let run = app.finished(&runs[0]).await;
    assert_eq!((&run["status"], &run["payload"]["type"]), (&json!("COMPLETED"), &json!("DECLARATIVE")), "{run}");

    let path = path_of(schedule);
    assert!(put(&app, &path, hourly("echo", "k")).await.error(422).contains("declared by its task"));
    assert!(delete(&app, &path).await.error(422).contains("declared by its task"));
    app.post_empty(&format!("{path}/deactivate")).await.ok();
    app.upload("other", &echo, "").await.ok();
    app.upload("night", &[&cleanup[..], b"\0\x02\x01x"].concat(), "").await.ok();
    let kept = declared().await;
    assert_eq!(kept.len(), 1, "another component has nothing to say about it");
    assert_eq!((&kept[0]["id"], &kept[0]["active"]), (&schedule["id"], &json!(false)), "it stays inactive");

    app.upload("night", &echo, "").await.ok();
    assert_eq!(declared().await.len(), 0, "its task has gone");
    assert_eq!(app.run(&runs[0]).await.get("schedule"), None);
    app.post_empty("/api/v1/deployments/rollback").await.ok();
    assert_eq!(declared().await.len(), 1, "and has come back");
    assert_eq!(app.get(&path_of(&imperative)).await.ok()["active"], true);
}

#[tokio::test]
async fn a_run_of_a_task_that_nobody_has_deployed_waits_for_it() {
    let app = TestApp::start().await;
    half_past(&app);
    let schedule = create(&app, hourly("echo", "k")).await;
    app.app().advance(HOUR);
    let run = fired(&app, &schedule, 1).await.remove(0);
    app.until_status(&run, "PENDING_VERSION").await;

    app.deploy(guests::ECHO_V1).await;

    assert_eq!(app.finished(&run).await["status"], "COMPLETED");
}

#[tokio::test]
async fn every_zone_that_is_offered_can_be_used() {
    let app = TestApp::start().await;
    let zones = async |query: &str| {
        let answer = app.app().router();
        let request = Request::get(format!("/api/v1/timezones{query}")).body(Body::empty()).unwrap();
        let answer = tower::ServiceExt::oneshot(answer, request).await.unwrap();
        assert_eq!(answer.status(), 200, "without a key, too");
        app.get(&format!("/api/v1/timezones{query}")).await.ok()["timezones"].take()
    };
    let all = zones("").await;
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(names.len() > 300 && names[0] == "UTC" && names.contains(&"America/New_York"));
    for zone in names {
        let known = dacapo::model::schedule::Timing::parse("0 3 * * *", zone);
        assert!(known.is_ok(), "{zone}");
    }
    assert!(!zones("?excludeUtc=true").await.as_array().unwrap().contains(&json!("UTC")));
}

/// The verbs on a data directory, at moments that the test chooses.
struct Verbs {
    storage: Storage,
    schedules: Schedules,
    environment: EnvironmentId,
}

fn defaults(max_waiting: u64) -> Defaults {
    Defaults { max_waiting, ttl: DefaultTtl { in_development: None, elsewhere: None } }
}

impl Verbs {
    async fn open(data_dir: &Path, max_waiting: u64) -> Self {
        let clock = Clock::system();
        let storage = loop {
            // Of a storage that was dropped, the writer ends a moment later.
            match Storage::open(data_dir, &clock) {
                Err(dacapo::storage::Error::InUse(_)) => tokio::task::yield_now().await,
                opened => break opened.expect("storage opens"),
            }
        };
        let environment = EnvironmentId::from_bits(1);
        let verbs =
            Self { schedules: Schedules::new(storage.clone(), clock, defaults(max_waiting)), storage, environment };
        verbs.make_environment(environment, "one").await;
        verbs
    }

    async fn make_environment(&self, id: EnvironmentId, slug: &str) {
        let environment = Environment {
            id,
            slug: slug.into(),
            kind: EnvironmentKind::Development,
            egress: Vec::new(),
            concurrency_limit: None,
            backtest_policy: None,
            branch: None,
            created_at: Timestamp::UNIX_EPOCH,
        };
        self.storage.insert_environment(environment).await.unwrap();
    }

    async fn create(&self, environment: EnvironmentId, key: &str, cron: &str) -> Schedule {
        let plan = Plan { task: "t".into(), cron: cron.into(), timezone: "UTC".into(), external_id: None };
        self.schedules.create(environment, key.into(), plan).await.unwrap()
    }

    async fn runs(&self, environment: EnvironmentId) -> Vec<Run> {
        self.storage.runs(environment, RunFilter::default(), Place::Start, 100).await.unwrap().items
    }

    async fn moment(&self, run: RunId) -> Timestamp {
        let (Packet { data, .. }, _) = self.storage.payload(run).await.unwrap().unwrap();
        let payload: Value = serde_json::from_str(&data.unwrap()).unwrap();
        instant(&payload["json"]["timestamp"])
    }
}

#[tokio::test]
async fn two_looks_at_one_moment_make_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let verbs = Verbs::open(dir.path(), 1_000).await;
    let mut due = Timestamp::UNIX_EPOCH;
    for n in 0..20 {
        let schedule = verbs.create(verbs.environment, &n.to_string(), "* * * * *").await;
        due = due.max(schedule.next_fire_at.unwrap());
    }
    let found = verbs.storage.due_schedules(due, None, 100).await.unwrap();
    assert_eq!(found.len(), 20);

    let passes: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let schedules = verbs.schedules.clone();
                async move { schedules.fire_due(due).await }
            })
        })
        .collect();
    for pass in passes {
        assert_eq!(pass.await.unwrap().unwrap(), Left::Nothing);
    }

    assert_eq!(verbs.runs(verbs.environment).await.len(), 20);
}

#[tokio::test]
async fn a_server_that_dies_neither_repeats_a_moment_nor_forgets_one() {
    let dir = tempfile::tempdir().unwrap();
    let due = {
        let verbs = Verbs::open(dir.path(), 1_000).await;
        let due = verbs.create(verbs.environment, "k", "0 * * * *").await.next_fire_at.unwrap();
        verbs.schedules.fire_due(due).await.unwrap();
        due
    };
    let last = due + 9 * HOUR;
    {
        let verbs = Verbs::open(dir.path(), 1_000).await;
        verbs.schedules.fire_due(due).await.unwrap();
        assert_eq!(verbs.runs(verbs.environment).await.len(), 1, "this moment has been");
        verbs.schedules.fire_due(last + HOUR / 2).await.unwrap();
    }
    let verbs = Verbs::open(dir.path(), 1_000).await;
    verbs.schedules.fire_due(last + HOUR / 2).await.unwrap();

    let runs = verbs.runs(verbs.environment).await;
    assert_eq!(runs.len(), 2, "nine moments that were missed make one run");
    assert_eq!(verbs.moment(runs[0].id).await, last);
    assert_eq!(verbs.moment(runs[1].id).await, due);
}

#[tokio::test]
async fn a_full_queue_holds_its_schedules_back_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let verbs = Verbs::open(dir.path(), 1).await;
    let other = EnvironmentId::from_bits(2);
    verbs.make_environment(other, "two").await;
    let due = verbs.create(verbs.environment, "k", "0 * * * *").await.next_fire_at.unwrap();
    assert_eq!(verbs.schedules.fire_due(due).await.unwrap(), Left::Nothing);
    let waiting = verbs.runs(verbs.environment).await;
    assert_eq!(waiting[0].status, Status::PendingVersion);
    // More than a pass looks at, all of them due before that of the other environment.
    for n in 0..120 {
        verbs.create(verbs.environment, &n.to_string(), "0 * * * *").await;
    }
    verbs.create(other, "k", "1 * * * *").await;
    let later = due + 3 * HOUR + HOUR / 2;

    assert_eq!(verbs.schedules.fire_due(later).await.unwrap(), Left::Held);

    assert_eq!(verbs.runs(verbs.environment).await.len(), 1);
    assert_eq!(verbs.runs(other).await.len(), 1, "who has room is not held up");
    verbs.storage.cancel(verbs.environment, waiting[0].id, later).await.unwrap();
    assert_eq!(verbs.schedules.fire_due(later).await.unwrap(), Left::Held);
    let runs = verbs.runs(verbs.environment).await;
    assert_eq!(runs.len(), 2, "there was room for one");
    assert_eq!(verbs.moment(runs[0].id).await, due + 3 * HOUR, "it fires as of the last moment");
}

#[tokio::test]
async fn saying_the_same_again_does_not_make_a_schedule_forget_what_it_owes() {
    let dir = tempfile::tempdir().unwrap();
    let verbs = Verbs::open(dir.path(), 1_000).await;
    let minutely = verbs.create(verbs.environment, "k", "* * * * *").await;
    let plan = Plan { task: "t".into(), cron: "* * * * *".into(), timezone: "UTC".into(), external_id: None };
    let clock = Clock::system();
    clock.advance(10 * HOUR);
    let later = Schedules::new(verbs.storage.clone(), clock.clone(), defaults(1_000));

    let again = later.create(verbs.environment, "k".into(), plan.clone()).await.unwrap();
    let changed =
        later.update(verbs.environment, minutely.id, Plan { task: "u".into(), ..plan.clone() }).await.unwrap();

    assert_eq!((again.next_fire_at, changed.next_fire_at), (minutely.next_fire_at, minutely.next_fire_at));
    let other = Plan { cron: "*/2 * * * *".into(), ..plan };
    let changed = later.update(verbs.environment, minutely.id, other).await.unwrap();
    assert!(changed.next_fire_at.unwrap() > clock.now(), "another timing owes nothing");
}

#[tokio::test]
async fn a_daily_schedule_fires_once_on_the_days_on_which_clocks_change() {
    let dir = tempfile::tempdir().unwrap();
    let verbs = Verbs::open(dir.path(), 1_000).await;
    let plan =
        Plan { task: "t".into(), cron: "30 2 * * *".into(), timezone: "Europe/Berlin".into(), external_id: None };
    let created = verbs.schedules.create(verbs.environment, "k".into(), plan).await.unwrap();
    // A pass every half an hour for more than a year: both changes lie in it.
    let first = created.next_fire_at.unwrap();
    let mut days = std::collections::BTreeMap::<String, u32>::new();
    let mut due = first;
    let end = first + 370 * 24 * HOUR;
    while due < end {
        verbs.schedules.fire_due(due).await.unwrap();
        let run = verbs.runs(verbs.environment).await.remove(0);
        let local = verbs.moment(run.id).await.in_tz("Europe/Berlin").unwrap();
        *days.entry(local.strftime("%Y-%m-%d").to_string()).or_default() += 1;
        verbs.storage.cancel(verbs.environment, run.id, due).await.unwrap();
        let schedule = verbs.storage.schedule(verbs.environment, created.id).await.unwrap().unwrap();
        due = schedule.next_fire_at.unwrap();
    }
    assert!(days.len() >= 370, "{} days", days.len());
    assert!(days.values().all(|count| *count == 1), "{days:?}");
}

#[tokio::test]
async fn a_schedule_fires_while_its_server_runs_and_after_it_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut app = TestApp::open(data.clone(), ServerArgs::default(), None).await;
    app.deploy(guests::ECHO_V1).await;
    half_past(&app);
    let schedule = create(&app, hourly("echo", "k")).await;
    app.app().advance(HOUR);
    let first = fired(&app, &schedule, 1).await.remove(0);
    app.finished(&first).await;
    app.stop().await;

    let app = TestApp::open(data, ServerArgs::default(), None).await;
    // The clock is the machine's again.
    half_past(&app);
    app.app().advance(6 * HOUR);

    let runs = fired(&app, &schedule, 2).await;
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1], first);
    let payload = app.finished(&runs[0]).await["payload"].take();
    assert_eq!(instant(&payload["timestamp"]), instant(&schedule["nextRun"]) + 5 * HOUR);
}
