//! That no statement of storage takes longer the longer history is: each finds what it wants by an
//! index, and sorts nothing that may be long. What SQLite would do is looked up for every statement
//! that the walk in `dialect.rs` leads to.

use rusqlite::Connection;

use crate::dialect::{empty_database, statements};

/// Tables that are small, whatever happens.
const SMALL: [&str; 5] = ["workers", "environments", "e", "api_keys", "schema_migrations"];
/// What runs and tokens that wait or execute are in, and nothing else: there is a limit to them.
const OF_THE_LIVING: [&str; 11] = [
    "runs_ready",
    "runs_parked",
    "runs_awaiting",
    "runs_executing",
    "runs_unstarted",
    "runs_in_queue",
    "runs_held_in_environment",
    "waitpoints_waiting",
    "backtests_pending",
    "backtests_pending_of",
    "bulk_actions_pending",
];
/// Tables, or their short names, of which an environment has few.
const FEW_PER_ENVIRONMENT: [&str; 11] = [
    "replay_rules",
    "current_tasks",
    "c",
    "promotions",
    "p",
    "queues",
    "q",
    "schedules",
    "deployments",
    "variables",
    "packets",
];
/// What is sorted, and may be: a component has a thousand tasks at most, a batch a thousand items; of statistics, so many rows
/// are added up and no more.
const SHORT: [&str; 3] = ["FROM deployment_tasks t", "JOIN batch_items i", "AS newest GROUP BY"];

/// How SQLite would answer; what is bound plays no part in it.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("good SQL");
    let mut rows = statement.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = rows.next().expect("a plan") {
        plan.push(row.get("detail").expect("a detail"));
    }
    plan
}

/// What is wrong with a step of a plan.
fn problem(sql: &str, plan: &[String], step: &str) -> Option<&'static str> {
    let words: Vec<&str> = step.split(' ').collect();
    let index = words.iter().position(|word| *word == "INDEX").and_then(|at| words.get(at + 1).copied());
    let is_living = index.is_some_and(|index| OF_THE_LIVING.contains(&index));
    if words[0] == "SCAN" {
        let table = words[1];
        // Of a part of the statement that has a limit of its own.
        let is_part = plan.iter().any(|step| *step == format!("CO-ROUTINE {table}")) && sql.contains("LIMIT");
        return (!is_part && !is_living && !SMALL.contains(&table)).then_some("looks at everything");
    }
    if words[0] == "SEARCH" && step.ends_with(" (environment_id=?)") && !FEW_PER_ENVIRONMENT.contains(&words[1]) {
        return (!is_living).then_some("looks at everything of an environment");
    }
    let is_sorted = step.contains("TEMP B-TREE") || step.contains("AUTOMATIC");
    (is_sorted && !SHORT.iter().any(|short| sql.contains(short))).then_some("sorts, or makes an index for itself")
}

#[test]
fn no_statement_takes_longer_with_a_longer_history() {
    let connection = empty_database();
    let mut problems = Vec::new();
    for sql in statements() {
        let plan = plan(&connection, sql);
        problems
            .extend(plan.iter().filter_map(|step| Some(format!("{}: {sql}: {plan:#?}", problem(sql, &plan, step)?))));
    }
    assert!(statements().len() > 200, "the walk is not one any more");
    assert!(problems.is_empty(), "{} of {}: {problems:#?}", problems.len(), statements().len());
    pages_are_ranges_of_an_index();
    numbers_of_a_task_are_a_range_of_an_index();
}

fn numbers_of_a_task_are_a_range_of_an_index() {
    let is_of_one = |sql: &&String| sql.starts_with("SELECT begins_at, class, completed");
    let sql = statements().iter().find(is_of_one).expect("the walk leads there");
    let plan = plan(&empty_database(), sql);
    let range = "COVERING INDEX run_statistics_by_task (environment_id=? AND step_s=? AND task_id=? AND begins_at>?)";
    assert!(plan[0].ends_with(range), "{plan:#?}");
}

/// Every condition of a list is a range of its own index, within the ids that the page lies between,
/// in both directions, alone and in front of other conditions.
fn pages_are_ranges_of_an_index() {
    for (condition, index) in [
        ("", "COVERING INDEX runs_by_environment (environment_id=?"),
        (" AND status = ?2", "COVERING INDEX runs_by_status (environment_id=? AND status=?"),
        (" AND task_id = ?2", "COVERING INDEX runs_by_task (environment_id=? AND task_id=?"),
        (" AND queue = ?2", "COVERING INDEX runs_by_queue (environment_id=? AND queue=?"),
        (" AND machine = ?2", "COVERING INDEX runs_by_machine (environment_id=? AND machine=?"),
        (" AND deployment_id = ?2", "COVERING INDEX runs_by_deployment (environment_id=? AND deployment_id=?"),
        (" AND bulk_id = ?2", "INDEX runs_by_bulk (bulk_id=?"),
        (" AND schedule_id = ?2", "INDEX runs_by_schedule (schedule_id=?"),
        (" AND replay_of = ?2", "INDEX runs_by_source (replay_of=?"),
        (" AND is_replay = 1", "COVERING INDEX runs_that_replay (environment_id=?"),
        (" AND is_test = 1", "COVERING INDEX runs_that_test (environment_id=?"),
    ] {
        check_range("runs", ("runs", "id"), condition, index);
    }
    check_range("runs", ("run_tags", "run_id"), " AND tag = ?2", "PRIMARY KEY (environment_id=? AND tag=?");
    for (condition, index) in [
        ("", "COVERING INDEX waitpoints_by_environment (environment_id=?"),
        (" AND status = ?2", "COVERING INDEX waitpoints_by_status (environment_id=? AND status=?"),
        (" AND idempotency_key = ?2", "COVERING INDEX waitpoints_by_key (environment_id=? AND idempotency_key=?"),
    ] {
        check_range("waitpoints", ("waitpoints", "id"), condition, index);
    }
    let tags = ("waitpoint_tags", "waitpoint_id");
    check_range("waitpoints", tags, " AND tag = ?2", "PRIMARY KEY (environment_id=? AND tag=?");
}

#[track_caller]
fn check_range(things: &str, (table, id): (&str, &str), condition: &str, index: &str) {
    let connection = empty_database();
    let range = format!("FROM {table} WHERE environment_id = ?1{condition} AND {id} > ");
    for order in ["ASC", "DESC"] {
        let end = format!(" ORDER BY {id} {order} LIMIT ");
        let found = statements().iter().filter(|sql| sql.contains(&range) && sql.contains(&end));
        let mut count = 0;
        for sql in found {
            let plan = plan(&connection, sql);
            let in_range = format!("SEARCH {table} USING {index} AND {id}>? AND {id}<?)");
            assert!(plan.contains(&in_range), "{sql}: {plan:#?}");
            let held_against_others = format!("SEARCH {things} USING PRIMARY KEY (id=?) LEFT-JOIN");
            assert!(!sql.contains("LEFT JOIN") || plan.contains(&held_against_others), "{sql}: {plan:#?}");
            count += 1;
        }
        assert!(count > 0, "the walk does not lead to {range}{end}");
    }
}
