//! Every fixed limit of the product, with its unit in its name. What an operator may change is in
//! `config`; these are the bounds that hold for everyone.

use std::time::Duration;

/// Most bytes of JSON in the body of a request that carries a payload.
pub const MAX_TRIGGER_BODY_BYTES: usize = 11 * MIB;
/// Most bytes of a payload, as text.
pub const MAX_PAYLOAD_BYTES: usize = 10 * MIB;
/// Most bytes of a task's output, as JSON text.
pub const MAX_OUTPUT_BYTES: usize = 10 * MIB;
/// Most bytes of a run's metadata, as JSON text.
pub const MAX_METADATA_BYTES: usize = 256 * KIB;
/// Most levels of a run's metadata, of which the object itself is the first. Readers of JSON give up
/// at some depth, ours at 128.
pub const MAX_METADATA_LEVELS: usize = 32;
/// Most bytes of one body of any other request.
pub const MAX_BODY_BYTES: usize = MIB;
/// Most connections at a time; the others wait until one of these is closed. Half of the open files
/// that `dacapo doctor` asks for.
pub const MAX_CONNECTIONS: usize = 2_048;
/// Longest time from when a connection may send a request until the head of it is there. Idle
/// connections are closed after it, too.
pub const MAX_HEAD_WAIT: Duration = Duration::from_secs(30);
/// Most bytes of the head of a request.
pub const MAX_HEAD_BYTES: usize = 64 * KIB;
/// Most bytes of a component.
pub const MAX_COMPONENT_BYTES: usize = 64 * MIB;
/// Most tasks in one component.
pub const MAX_TASKS_PER_COMPONENT: usize = 1_000;
/// Most characters of a task id.
pub const MAX_TASK_ID_CHARS: usize = 128;
/// Most characters of a queue name.
pub const MAX_QUEUE_NAME_CHARS: usize = 128;
/// Most characters of a concurrency key.
pub const MAX_CONCURRENCY_KEY_CHARS: usize = 512;
/// Most characters of an idempotency key.
pub const MAX_IDEMPOTENCY_KEY_CHARS: usize = 2_048;
/// Most tags of a run.
pub const MAX_TAGS: usize = 10;
/// Most characters of a tag.
pub const MAX_TAG_CHARS: usize = 128;
/// Most attempts of a run.
pub const MAX_ATTEMPTS: u32 = 1_000;
/// Least and most CPU seconds of an attempt.
pub const MAX_DURATION_SECONDS: std::ops::RangeInclusive<u32> = 1..=86_400;
/// Longest delay before a run is queued.
pub const MAX_DELAY: Duration = Duration::from_secs(366 * 86_400);
/// Longest time to live.
pub const MAX_TTL: Duration = MAX_DELAY;
/// How long a run waits for a version that has its task, when nobody gave it a time to live.
pub const PARKED_TTL: Duration = Duration::from_secs(3_600);
/// Bytes of payloads after which one claim takes no more runs.
pub const MAX_CLAIMED_PAYLOAD_BYTES: usize = 32 * MIB;
/// Most characters of a description in a task definition.
pub const MAX_DESCRIPTION_CHARS: usize = 4_096;
/// Most bytes of a task's payload schema.
pub const MAX_SCHEMA_BYTES: usize = 256 * KIB;
/// Most bytes of an error's message, and of its stack, that are kept.
pub const MAX_ERROR_TEXT_BYTES: usize = 64 * KIB;
/// Most bytes of log that one attempt may write.
pub const MAX_LOG_BYTES_PER_ATTEMPT: usize = 4 * MIB;
/// Most log lines that one attempt may write.
pub const MAX_LOG_LINES_PER_ATTEMPT: usize = 10_000;
/// Most bytes of one log line, its attributes included; what is longer is cut.
pub const MAX_LOG_LINE_BYTES: usize = 32 * KIB;
/// Most bytes of one environment variable's value.
pub const MAX_VARIABLE_BYTES: usize = 64 * KIB;
/// Most environment variables of an environment.
pub const MAX_VARIABLES: usize = 500;
/// Most rules in an environment's egress list.
pub const MAX_EGRESS_RULES: usize = 500;
/// How often a run may be lost with its server, or fail for a fault of the host, before it ends as
/// a system failure.
pub const MAX_LOSSES: u32 = 5;
/// Items on a page when the caller does not say, and at most.
pub const DEFAULT_PAGE_ITEMS: u32 = 25;
/// Most items on a page.
pub const MAX_PAGE_ITEMS: u32 = 100;
/// Longest time a request may wait for a run to end.
pub const MAX_RESULT_WAIT: Duration = Duration::from_secs(60);
/// How long the key of a request finds the run that the request made.
pub const REQUEST_KEY_TTL: Duration = Duration::from_secs(86_400);
/// How long an idempotency key counts when the caller does not say.
pub const DEFAULT_IDEMPOTENCY_KEY_TTL: Duration = Duration::from_secs(30 * 86_400);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
