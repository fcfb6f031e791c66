//! The list of runs: pages and filters.

use std::time::Duration;

use dacapo::clock::Clock;
use dacapo::storage::{Place, RunFilter, Storage};
use dacapo_tests::guests;
use serde_json::{Value, json};

use super::{id, ids, with_echo};
use crate::harness::TestApp;

fn cursor<'l>(list: &'l Value, name: &str) -> &'l str {
    list["pagination"][name].as_str().unwrap_or_else(|| panic!("no cursor `{name}`: {}", list["pagination"]))
}

#[tokio::test]
async fn thirty_runs_are_paged_forward_and_back() {
    let app = TestApp::start().await;
    let mut newest_first = Vec::new();
    for n in 0..30 {
        newest_first.push(app.trigger("nobody-has-it", json!(n)).await);
    }
    newest_first.reverse();
    let list = async |query: &str| app.get(&format!("/api/v1/runs?page%5Bsize%5D=10{query}")).await.ok();

    let first = list("").await;
    assert_eq!(ids(&first), newest_first[..10]);
    assert!(first["pagination"].get("previous").is_none(), "{}", first["pagination"]);
    let after_first = cursor(&first, "next").to_owned();
    let second = list(&format!("&page%5Bafter%5D={after_first}")).await;
    assert_eq!(ids(&second), newest_first[10..20]);
    // Back: the client keeps the cursor it went forward with.
    let before_second = cursor(&second, "previous").to_owned();
    let back = list(&format!("&page%5Bafter%5D={after_first}&page%5Bbefore%5D={before_second}")).await;
    assert_eq!(ids(&back), newest_first[..10]);
    // Forward again: it sends both, and the younger one counts.
    let after_back = cursor(&back, "next").to_owned();
    let again = list(&format!("&page%5Bafter%5D={after_back}&page%5Bbefore%5D={before_second}")).await;
    assert_eq!(ids(&again), newest_first[10..20]);
    let after_again = cursor(&again, "next").to_owned();
    let last = list(&format!("&page%5Bafter%5D={after_again}&page%5Bbefore%5D={before_second}")).await;
    assert_eq!(ids(&last), newest_first[20..]);
    assert!(last["pagination"].get("next").is_none(), "{}", last["pagination"]);

    let whole = app.get("/api/v1/runs").await.ok();
    assert_eq!(ids(&whole), newest_first[..25], "25 is the default");
    let whole = app.get("/api/v1/runs?page[size]=100").await.ok();
    assert_eq!(ids(&whole), newest_first);
    assert_eq!(whole["pagination"], json!({}));
    assert_eq!(whole["data"][0]["env"]["name"], "dev");
    let newer = app.trigger("nobody-has-it", json!("newer")).await;
    let still = list(&format!("&page%5Bafter%5D={after_first}")).await;
    assert_eq!(ids(&still), newest_first[10..20], "new runs do not shift the pages: {newer}");
}

#[tokio::test]
async fn a_page_of_runs_holds_neither_their_outputs_nor_the_stacks_of_their_errors() {
    let mut app = with_echo().await;
    app.deploy(guests::FAIL).await;
    let mut newest_first = Vec::new();
    for n in 0..3 {
        newest_first.push(id(&app.call("echo", json!({ "n": n, "large": "x".repeat(1 << 20) })).await));
    }
    let broken = json!({ "name": "Broken", "message": "no luck", "retry": "never" });
    newest_first.push(id(&app.call("fail", broken).await));
    newest_first.reverse();
    let list = app.get("/api/v1/runs").await.ok();
    assert_eq!(ids(&list), newest_first);
    assert_eq!(list["data"][1]["status"], "COMPLETED");
    assert!(list.to_string().len() < 16 * 1024, "{} bytes", list.to_string().len());
    let environments = app.admin("GET", "/admin/v1/environments", Value::Null).await.ok();
    let dev = environments["data"].as_array().unwrap().iter().find(|item| item["slug"] == "dev").unwrap();
    let dev = dev["id"].as_str().unwrap().parse().unwrap();
    app.stop().await;

    let storage = Storage::open(app.data_dir(), &Clock::system()).unwrap();
    let page = storage.runs(dev, RunFilter::default(), Place::Start, 10).await.unwrap();

    assert_eq!(page.items.iter().map(|run| run.id.to_string()).collect::<Vec<_>>(), newest_first);
    assert!(page.items.iter().all(|run| run.output.is_none()), "no output was read");
    let error = page.items[0].error.as_ref().expect("the run failed");
    assert_eq!((error.message.as_str(), &error.stack), ("no luck", &None));
    let whole = storage.run(dev, page.items[1].id).await.unwrap().expect("the run is there");
    assert!(whole.output.is_some_and(|output| output.len() > 1 << 20), "a single run has its output");
    storage.close().await;
}

#[tokio::test]
async fn a_list_can_be_filtered_by_status_task_and_time() {
    let app = with_echo().await;
    let done = id(&app.call("echo", json!(1)).await);
    let delayed = app.trigger_with("echo", json!(2), json!({ "delay": "1h" })).await;
    let pending = app.trigger("other", json!(3)).await;
    let (year, day) = (Duration::from_secs(366 * 86_400), "2001-01-01T00:00:00Z");
    let future = (Clock::system().now() + year).as_millisecond();
    let list = async |query: &str| ids(&app.get(&format!("/api/v1/runs?{query}")).await.ok());
    assert_eq!(list("filter[status]=COMPLETED").await, std::slice::from_ref(&done));
    assert_eq!(list("filter[status]=DELAYED,COMPLETED").await, [delayed.clone(), done.clone()]);
    assert_eq!(list("filter[taskIdentifier]=other").await, std::slice::from_ref(&pending));
    assert_eq!(list("filter[taskIdentifier]=other,echo").await, [pending.clone(), delayed.clone(), done.clone()]);
    assert_eq!(list("filter[taskIdentifier]=echo&filter[status]=DELAYED").await, std::slice::from_ref(&delayed));
    assert_eq!(list("filter[taskIdentifier]=other&filter[status]=DELAYED").await, Vec::<String>::new());
    assert_eq!(list(&format!("filter[createdAt][from]={day}")).await.len(), 3);
    assert_eq!(list(&format!("filter[createdAt][to]={day}")).await.len(), 0);
    assert_eq!(list(&format!("filter[createdAt][from]={future}")).await.len(), 0);
    assert_eq!(list(&format!("filter[createdAt][to]={future}")).await.len(), 3);
    assert_eq!(list("filter[createdAt][period]=1d").await.len(), 3);
}

#[tokio::test]
async fn replays_can_be_listed_and_left_out_and_those_of_one_run_be_found() {
    let app = with_echo().await;
    let (one, other) = (id(&app.call("echo", json!(1)).await), id(&app.call("echo", json!(2)).await));
    let mut replays = Vec::new();
    for source in [&one, &one, &other] {
        let replay = app.replay(source).await;
        app.finished(&replay).await;
        replays.insert(0, replay);
    }
    let list = async |query: &str| ids(&app.get(&format!("/api/v1/runs?{query}")).await.ok());
    assert_eq!(list("filter[isReplay]=true").await, replays);
    assert_eq!(list("filter[isReplay]=false").await, [other.clone(), one.clone()]);
    assert_eq!(list(&format!("filter[replayedFrom]={one}")).await, replays[1..]);
    assert_eq!(list(&format!("filter[replayedFrom]={one}&filter[isReplay]=false")).await, Vec::<String>::new());
    assert_eq!(list("filter[isReplay]=true&filter[status]=COMPLETED&page[size]=2").await, replays[..2]);
    let count = app.get("/api/v1/runs/count?filter[isReplay]=true").await.ok();
    assert_eq!(count, json!({ "count": 3, "isMore": false }));

    for (filter, expected) in [
        (json!({ "isReplay": true }), 3),
        (json!({ "isReplay": false }), 2),
        (json!({ "replayedFrom": one, "isReplay": true }), 2),
    ] {
        let action = crate::bulk::begin(&app, json!({ "action": "cancel", "filter": filter })).await;
        assert_eq!(crate::bulk::over(&app, &action).await["counts"]["total"], expected, "{filter}");
    }
    let body = json!({ "action": "cancel", "filter": { "replayedFrom": "batch_1" } });
    let refused = app.post("/api/v1/bulk-actions", body).await.error(400);
    assert_eq!(refused, "`filter.replayedFrom` is not an id of its kind");
}

#[tokio::test]
async fn a_list_refuses_what_it_does_not_understand() {
    let app = TestApp::start().await;
    for (query, text) in [
        ("filter[status]=DONE", "Query Error: filter[status]: `DONE` is not a status of a run"),
        ("filter[color]=x", "Query Error: `filter[color]` is not offered here; known: page[size], "),
        ("filter[version]=newest", "Query Error: filter[version]: not a version such as 20261121.3"),
        ("filter[batch]=b", "Query Error: filter[batch]"),
        ("filter[isTest]=perhaps", "`filter[isTest]` must be"),
        ("filter[isReplay]=perhaps", "`filter[isReplay]` must be"),
        ("filter[replayedFrom]=batch_1", "Query Error: filter[replayedFrom]"),
        ("limit=5", "Query Error: `limit` is not offered here"),
        ("page[size]=0", "`page[size]` must be 1 to 100"),
        ("page[size]=101", "`page[size]` must be 1 to 100"),
        ("page[size]=-1", "`page[size]` must be a whole number"),
        ("page[size]=many", "`page[size]` must be a whole number"),
        ("page[after]=nonsense", "`page[after]` is not a cursor that this server gave out"),
        ("page[before]=1-run_1", "`page[before]` is not a cursor that this server gave out"),
        ("filter[createdAt][from]=yesterday", "Query Error: filter[createdAt][from] must be milliseconds"),
        ("filter[createdAt][period]=long", "Query Error: filter[createdAt][period]: `long` is not a duration"),
    ] {
        let answer = app.get(&format!("/api/v1/runs?{query}")).await;
        let found = answer.error(400);
        assert!(found.starts_with(text), "{query}: {found}");
    }
}
