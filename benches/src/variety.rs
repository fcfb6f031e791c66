//! What the runs of the history differ in: so that every filter of the list of runs finds some, and
//! the common ones find many.
//!
//! Everything follows from the number of a run, so that whoever asks for a page knows what there is.

use dacapo::model::id::{BatchId, BulkId, ScheduleId};

/// Versions beside the one that is deployed.
pub(crate) const VERSIONS: [&str; 4] = ["20200101.1", "20200101.2", "20200101.3", "20200101.4"];
/// Tasks beside the one that is deployed, and the share of each, in thousandths.
const TASKS: [(&str, u64); 3] = [("import", 200), ("mail", 99), ("rare-task", 1)];
const QUEUES: [(&str, u64); 2] = [("emails", 150), ("slow/lane", 50)];
const MACHINES: [(&str, u64); 3] = [("small-1x", 100), ("micro", 90), ("large-1x", 10)];
/// What is not among them has completed.
const STATUSES: [(&str, u64); 5] =
    [("failed", 30), ("canceled", 10), ("crashed", 10), ("timed-out", 5), ("expired", 5)];
/// The rarest status: one run in so many.
const RARE_STATUS_EVERY: u64 = 100_000;
const RARE_TAG_EVERY: u64 = 20_000;
/// Runs of one batch.
pub(crate) const BATCH: u64 = 1_000;
const SCHEDULES: u64 = 20;
/// Runs of one bulk action.
const BULK: u64 = 5_000;

/// One run.
pub(crate) struct Kind {
    pub(crate) status: &'static str,
    /// `None`: the one that is deployed.
    pub(crate) task: Option<&'static str>,
    /// `None`: the task's own.
    pub(crate) queue: Option<&'static str>,
    /// One of [`VERSIONS`]; `None`: the one that is deployed.
    pub(crate) version: Option<usize>,
    pub(crate) machine: Option<&'static str>,
    pub(crate) tags: Vec<&'static str>,
    pub(crate) batch: Option<String>,
    pub(crate) schedule: Option<String>,
    pub(crate) bulk: Option<String>,
    pub(crate) is_test: bool,
}

/// The run of this number.
pub(crate) fn kind(number: u64) -> Kind {
    // Each property looks at other bits of a number that has been stirred.
    let draw = |salt: u64| (number ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(salt) >> 33;
    let one_of = |salt: u64, choices: &[(&'static str, u64)]| {
        let mut left = draw(salt) % 1_000;
        choices.iter().find_map(|(name, share)| {
            let hit = left < *share;
            left = left.saturating_sub(*share);
            hit.then_some(*name)
        })
    };
    let is_rare = number % RARE_STATUS_EVERY == 7;
    let mut tags = Vec::new();
    if draw(0xd1b5_4a33) % 10 < 3 {
        tags.push("common");
    }
    if number % RARE_TAG_EVERY == 11 {
        tags.push("rare");
    }
    Kind {
        status: if is_rare { "system-failure" } else { one_of(0x9fb2_1c65, &STATUSES).unwrap_or("completed") },
        task: one_of(0xaef1_7503, &TASKS),
        queue: one_of(0xc2b2_ae35, &QUEUES),
        version: usize::try_from(draw(0x85eb_ca6b) % 10).ok().filter(|version| *version < VERSIONS.len()),
        machine: one_of(0x27d4_eb2f, &MACHINES),
        tags,
        batch: (number / BATCH).is_multiple_of(10).then(|| batch(number / BATCH)),
        schedule: (number % 20 == 3).then(|| schedule(draw(0x1656_67b1) % SCHEDULES)),
        bulk: (number / BULK % 50 == 1).then(|| bulk(number / BULK)),
        is_test: draw(0xf58b_4f23) % 100 == 0,
    }
}

fn batch(number: u64) -> String {
    BatchId::from_bits(number.into()).to_string()
}

fn schedule(number: u64) -> String {
    ScheduleId::from_bits(number.into()).to_string()
}

fn bulk(number: u64) -> String {
    BulkId::from_bits(number.into()).to_string()
}

/// Filters of the list of runs and the queries that ask for them: every filter there is, where a
/// value may be common or rare both, and two at a time.
pub(crate) fn queries(task: &str, version: &str) -> Vec<(&'static str, String)> {
    let filter = |name: &str, value: &str| format!("filter[{name}]={value}");
    let both = |one: &str, other: &str| format!("filter[status]={one}&filter[taskIdentifier]={other}");
    vec![
        ("none", String::new()),
        ("status", filter("status", "FAILED")),
        ("status, nearly all", filter("status", "COMPLETED")),
        ("status, 1 in 100,000", filter("status", "SYSTEM_FAILURE")),
        ("taskIdentifier", filter("taskIdentifier", task)),
        ("taskIdentifier, 1 in 1,000", filter("taskIdentifier", "rare-task")),
        ("version", filter("version", version)),
        ("version, an old one", filter("version", VERSIONS[0])),
        ("tag, 3 in 10", filter("tag", "common")),
        ("tag, 1 in 20,000", filter("tag", "rare")),
        ("queue", filter("queue", "emails")),
        ("machine", filter("machine", "large-1x")),
        ("batch", filter("batch", &batch(10))),
        ("schedule", filter("schedule", &schedule(3))),
        ("bulkAction", filter("bulkAction", &bulk(1))),
        ("isTest", filter("isTest", "true")),
        ("createdAt: the last hour", filter("createdAt][period", "1h")),
        ("status and taskIdentifier", both("FAILED", task)),
        ("status, 1 in 100,000, and taskIdentifier", both("SYSTEM_FAILURE", task)),
        ("status, nearly all, and taskIdentifier, 1 in 1,000", both("COMPLETED", "rare-task")),
        // The worst that two can do: one index has many, of which the other condition leaves few.
        ("tag, 3 in 10, and status, 1 in 100,000", filter("tag", "common") + "&" + &filter("status", "SYSTEM_FAILURE")),
    ]
}
