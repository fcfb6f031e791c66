//! Lists over a long history: whatever a filter asks for, a page is found among the few that fit, or is
//! cut short, and never by looking at everything.

use rusqlite::{Connection, params};
use serde_json::Value;

use crate::harness::TestApp;

/// Runs of each of two halves; more than one search looks at.
const HALF: u32 = 60_000;

/// The run of this number; the larger, the younger.
fn run(number: u32) -> String {
    format!("run_{number:026}")
}

/// Every other run is of the task `a`, and has completed; the others are of the task `b`, and have
/// failed. All have the tag `common`, and are in the queue `q`. The oldest are of other kinds.
async fn with_history() -> TestApp {
    let app = TestApp::start().await;
    let connection = Connection::open(app.data_dir().join("dacapo.db")).expect("the database opens");
    let environment: String =
        connection.query_row("SELECT id FROM environments WHERE slug = 'dev'", [], |row| row.get(0)).unwrap();
    let insert = "WITH RECURSIVE n (n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < ?2 + 100)
        INSERT INTO runs (id, environment_id, task_id, status, queue, queue_given, priority_ms, tags, created_at,
                          updated_at, finished_at, dequeue_at, is_test)
        SELECT printf('run_%026d', n), ?1, CASE n % 2 WHEN 0 THEN 'a' ELSE 'b' END,
               CASE n % 2 WHEN 0 THEN 'completed' ELSE 'failed' END, 'q', 0, 0, '[\"common\"]', 0, 0, 0, 0, 0
        FROM   n";
    connection.execute(insert, params![environment, 2 * HALF]).unwrap();
    let tag = "INSERT INTO run_tags (environment_id, tag, run_id) SELECT environment_id, 'common', id FROM runs";
    connection.execute(tag, []).unwrap();
    for (number, task, status, is_test) in [
        (1, "a", "failed", 0),
        (2, "a", "crashed", 0),
        (3, "rare", "completed", 0),
        (4, "a", "completed", 1),
        (5, "b", "crashed", 0),
        (6, "rare", "completed", 0),
    ] {
        let insert = "INSERT INTO runs (id, environment_id, task_id, status, queue, queue_given, priority_ms, tags,
                                        created_at, updated_at, finished_at, dequeue_at, is_test)
                      VALUES (?1, ?2, ?3, ?4, 'q', 0, 0, '[\"common\"]', 0, 0, 0, 0, ?5)";
        connection.execute(insert, params![run(number), environment, task, status, is_test]).unwrap();
        let tag = "INSERT INTO run_tags (environment_id, tag, run_id) VALUES (?1, 'common', ?2)";
        connection.execute(tag, params![environment, run(number)]).unwrap();
    }
    app
}

fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn few_are_found_behind_many() {
    let app = with_history().await;
    let list = async |query: &str| app.get(&format!("/api/v1/runs?{query}")).await.ok();
    for (query, expected) in [
        ("filter[status]=CRASHED&filter[taskIdentifier]=a", vec![2]),
        ("filter[status]=CRASHED,TIMED_OUT&filter[taskIdentifier]=a,b", vec![5, 2]),
        ("filter[status]=COMPLETED&filter[taskIdentifier]=rare", vec![6, 3]),
        ("filter[status]=CRASHED&filter[queue]=q", vec![5, 2]),
        ("filter[status]=CRASHED&filter[tag]=common", vec![5, 2]),
        ("filter[status]=CRASHED&filter[tag]=common&filter[queue]=q&filter[taskIdentifier]=b", vec![5]),
        ("filter[taskIdentifier]=a&filter[isTest]=true", vec![4]),
        ("filter[tag]=common&filter[isTest]=true", vec![4]),
        ("filter[tag]=common&filter[taskIdentifier]=rare&filter[isTest]=false", vec![6, 3]),
    ] {
        for place in ["", &format!("&page[before]={}", run(0))] {
            let found = list(&format!("{query}{place}")).await;
            let expected: Vec<String> = expected.iter().map(|number| run(*number)).collect();
            assert_eq!(ids(&found), expected, "{query}{place}");
            assert!(found["pagination"].get(if place.is_empty() { "next" } else { "previous" }).is_none(), "{found}");
        }
    }
    // Where most runs fit, the page is full at once.
    let full = list("filter[status]=COMPLETED&filter[taskIdentifier]=a&filter[tag]=common&filter[isTest]=false").await;
    let newest = (HALF - 25..HALF).rev().map(|number| run(2 * number + 100));
    assert_eq!(ids(&full), newest.collect::<Vec<_>>());
}

#[tokio::test]
async fn where_both_have_many_and_hardly_any_has_both_a_page_is_cut_short() {
    let app = with_history().await;
    for (direction, start) in [("after", None), ("before", Some(run(0)))] {
        let (mut pages, mut found, mut cursor) = (0, Vec::new(), start);
        loop {
            let place = cursor.map(|cursor| format!("&page[{direction}]={cursor}")).unwrap_or_default();
            let query = format!("filter[status]=FAILED&filter[taskIdentifier]=a{place}");
            let page = app.get(&format!("/api/v1/runs?{query}")).await.ok();
            pages += 1;
            found.extend(ids(&page));
            cursor =
                page["pagination"][if direction == "after" { "next" } else { "previous" }].as_str().map(Into::into);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!((pages, found), (2, vec![run(1)]), "{direction}: one page, however long, is not all of it");
    }
}
