//! Every fixed limit of the product, with its unit in its name. What an operator may change is in
//! `config`; these are the bounds that hold for everyone.

use std::time::Duration;

/// Most bytes of JSON in the body of a request that carries a payload.
pub const MAX_TRIGGER_BODY_BYTES: usize = 11 * MIB;
/// Most bytes of a payload, as text.
pub const MAX_PAYLOAD_BYTES: usize = 10 * MIB;
/// Most bytes of a task's output, as JSON text.
pub const MAX_OUTPUT_BYTES: usize = 10 * MIB;
/// Most bytes of the outputs that one wait of a run answers with; further outputs are left out.
pub const MAX_OUTCOME_BYTES: usize = 64 * MIB;
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
/// Keys whose requests are counted at a time, where there is a rate limit; when there are more, all
/// are counted anew.
pub const MAX_RATE_BUCKETS: usize = 10_000;
/// Most requests a second, and at once, that a rate limit can be.
pub const MAX_RATE: u32 = 1_000_000;
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
/// Most characters of a debounce key.
pub const MAX_DEBOUNCE_KEY_CHARS: usize = 512;
/// Most items of a batch.
pub const MAX_BATCH_ITEMS: u32 = 1_000;
/// Most bytes of the line of one item of a batch. A longer one fails for itself.
pub const MAX_BATCH_ITEM_BYTES: usize = MAX_TRIGGER_BODY_BYTES;
/// Most items of one request that are on their way to the disk at a time: one commit can take them
/// together.
pub const MAX_BATCH_ITEMS_IN_FLIGHT: usize = 128;
/// Most bytes of the payloads of such items, where it is more than one.
pub const MAX_BATCH_BYTES_IN_FLIGHT: usize = 32 * MIB;
/// Most bytes of outputs in the results of a batch.
pub const MAX_BATCH_RESULTS_BYTES: usize = 64 * MIB;
/// Longest wait for the next part of a body that is read as it arrives.
pub const MAX_BODY_WAIT: Duration = Duration::from_secs(60);
/// Most characters of the path of an uploaded payload.
pub const MAX_PACKET_PATH_CHARS: usize = 512;
/// How long an uploaded payload waits for the trigger that names it.
pub const PACKET_TTL: Duration = Duration::from_secs(86_400);
/// Most uploaded payloads of an environment within that time.
pub const MAX_PACKETS: u64 = 10_000;
/// Most bytes of them.
pub const MAX_PACKETS_BYTES: u64 = 4 << 30;
/// How long a link to an uploaded payload is good.
pub const OBJECT_LINK_TTL: Duration = Duration::from_secs(900);
/// Most levels of runs that trigger runs.
pub const MAX_DEPTH: u32 = 64;
/// Most runs of a queue at a time that anyone can ask for.
pub const MAX_CONCURRENCY_LIMIT: u32 = 100_000;
/// Most characters of the name of a bulk action.
pub const MAX_BULK_NAME_CHARS: usize = 255;
/// Most runs that a bulk action names one by one.
pub const MAX_BULK_IDS: usize = 500;
/// How far back a bulk action looks when its filter does not say.
pub const DEFAULT_BULK_WINDOW: Duration = Duration::from_secs(7 * 86_400);
/// Runs that one step of a bulk action cancels at most.
pub const MAX_BULK_CANCELS_PER_STEP: u32 = 100;
/// Runs that one step of a bulk action replays at most; fewer while runs wait for a worker, none
/// while as many do.
pub const MAX_BULK_REPLAYS_PER_STEP: u32 = 25;
/// Most bytes of the rules of replays, as JSON text.
pub const MAX_REPLAY_RULES_BYTES: usize = 256 * KIB;
/// Most tasks in them.
pub const MAX_REPLAY_RULES_TASKS: usize = 1_000;
/// Most entries of a list in them.
pub const MAX_REPLAY_RULE_ENTRIES: usize = 100;
/// Most characters of such an entry.
pub const MAX_REPLAY_RULE_CHARS: usize = 512;
/// Most bytes of one comparison of a replay with its source run, as JSON text.
pub const MAX_COMPARISON_BYTES: usize = 64 * KIB;
/// Values that one condition of a filter may name.
pub const MAX_FILTER_VALUES: usize = 20;
/// Most characters of a caller's own name for a deployment.
pub const MAX_EXTERNAL_ID_CHARS: usize = 128;
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
pub const PENDING_TTL: Duration = Duration::from_secs(3_600);
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
/// Most spans on a page of a trace.
pub const MAX_TRACE_PAGE_SPANS: usize = 10_000;
/// Most log lines and spans of tasks that a trace shows: the first of them.
pub const MAX_TRACE_ENTRIES: usize = 10_000;
/// Bytes of these, with their attributes, after which it shows no more.
pub const MAX_TRACE_BYTES: usize = 8 * MIB;
/// Most levels of spans below the run, its attempts included. What lies deeper is shown there.
pub const MAX_TRACE_LEVELS: usize = 32;
/// Most bytes of one environment variable's value.
pub const MAX_VARIABLE_BYTES: usize = 64 * KIB;
/// Most environment variables of an environment.
pub const MAX_VARIABLES: usize = 500;
/// Most characters of the name of a branch.
pub const MAX_BRANCH_NAME_CHARS: usize = 128;
/// Most environments for branches that one environment has.
pub const MAX_BRANCHES: u64 = 1_000;
/// Runs of a list are counted up to this many.
pub const MAX_RUNS_COUNTED: u32 = 10_000;
/// Runs of a status are counted up to this many.
pub const MAX_COUNTED: u32 = 10_001;
/// Most rows of counts that an answer is made from.
pub const MAX_STATISTICS_ROWS: u32 = 200_000;
/// Most groups of errors of a task; the others go into one more.
pub const MAX_ERROR_GROUPS_PER_TASK: u64 = 500;
/// Most groups of errors of an answer.
pub const MAX_ERROR_GROUPS: u32 = 200;
/// Most versions that are shown of a group of errors.
pub const MAX_ERROR_VERSIONS: u32 = 10;
/// How long an operator stays logged in.
pub const SESSION_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// Most rules in an environment's egress list.
pub const MAX_EGRESS_RULES: usize = 500;
/// Most schedules of an environment.
pub const MAX_SCHEDULES: u64 = 10_000;
/// Most characters of a cron pattern.
pub const MAX_CRON_CHARS: usize = 256;
/// Most characters of a schedule's deduplication key, and of its external id.
pub const MAX_SCHEDULE_KEY_CHARS: usize = 512;
/// Moments that a scheduled run is told of, after its own.
pub const UPCOMING_FIRES: usize = 10;
/// Most wait tokens of an environment that wait.
pub const MAX_WAITPOINTS: u64 = 1_000_000;
/// Longest time until a wait token times out.
pub const MAX_WAITPOINT_TIMEOUT: Duration = MAX_DELAY;
/// How often a run may be lost with its server, or fail for a fault of the host, before it ends as
/// a system failure.
pub const MAX_LOSSES: u32 = 5;
/// Items on a page when the caller does not say, and at most.
pub const DEFAULT_PAGE_ITEMS: u32 = 25;
/// Most items on a page.
pub const MAX_PAGE_ITEMS: u32 = 100;
/// Most characters of a public access token.
pub const MAX_TOKEN_CHARS: usize = 8_192;
/// Most scopes of a public access token that the server makes.
pub const MAX_TOKEN_SCOPES: usize = 100;
/// Most characters of such a scope.
pub const MAX_SCOPE_CHARS: usize = 512;
/// Longest life of such a token.
pub const MAX_TOKEN_LIFE: Duration = Duration::from_secs(366 * 86_400);
/// Life of such a token when the caller does not say.
pub const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);
/// Life of the token that comes with a trigger's answer.
pub const TRIGGER_TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// How long a browser may remember what it may ask for.
pub const MAX_PREFLIGHT_AGE: Duration = Duration::from_secs(86_400);
/// Keys of an environment that may sign tokens: the oldest.
pub const MAX_SIGNING_KEYS: u32 = 100;
/// How long a realtime request is held while nothing changes.
pub const MAX_FEED_HOLD: Duration = Duration::from_secs(20);
/// How long changes of many runs are gathered before they are shown.
pub const FEED_GATHER: Duration = Duration::from_millis(200);
/// Most runs that a realtime feed shows: the newest.
pub const MAX_FEED_RUNS: u32 = 1_000;
/// Most bytes of payloads, metadata, outputs and the texts of errors in one answer about many runs;
/// what goes beyond is left out.
pub const MAX_FEED_BYTES: usize = 8 * MIB;
/// Most tags that a realtime feed is asked for.
pub const MAX_FEED_TAGS: usize = 20;
/// How far a realtime feed of tags looks back when the caller does not say.
pub const DEFAULT_FEED_WINDOW: Duration = Duration::from_secs(86_400);
/// Most bytes of one chunk of a run's stream.
pub const MAX_STREAM_CHUNK_BYTES: usize = 128 * KIB;
/// Most chunks of a stream.
pub const MAX_STREAM_CHUNKS: u64 = 10_000;
/// Bytes of a stream after which it takes no more; they are counted with every 64 chunks.
pub const MAX_STREAM_BYTES: u64 = 64 * MIB as u64;
/// Most streams of a run.
pub const MAX_STREAMS: usize = 20;
/// Most characters of the name of a stream.
pub const MAX_STREAM_NAME_CHARS: usize = 128;
/// Longest time a request may wait for a run to end.
pub const MAX_RESULT_WAIT: Duration = Duration::from_secs(60);
/// How long the key of a request finds the run that the request made. That of a call in an attempt
/// does so at least until the run that called has ended.
pub const REQUEST_KEY_TTL: Duration = Duration::from_secs(86_400);
/// How long an idempotency key counts when the caller does not say.
pub const DEFAULT_IDEMPOTENCY_KEY_TTL: Duration = Duration::from_secs(30 * 86_400);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Most runs of a backtest.
pub const MAX_BACKTEST_RUNS: u32 = 100_000;
/// Runs of a backtest that does not say.
pub const DEFAULT_BACKTEST_RUNS: u32 = 1_000;
/// Backtests of an environment that may be pending.
pub const MAX_PENDING_BACKTESTS: u64 = 50;
/// The least share of the runs of each task, in percent, about which a gate must know something when nobody says.
pub const DEFAULT_MIN_KNOWN: u32 = 50;
/// Replays and reruns that may wait for a place; and so many who look at recordings.
pub const MAX_WAITING_REPLAYS: usize = 32;
/// Runs that are looked for at once.
pub const MAX_PAGE_RUNS: u32 = 100;
/// Most canned answers of a replay.
pub const MAX_REPLAY_STUBS: usize = 1_000;
/// Most bytes of a recording file.
pub const MAX_RECORDING_FILE_BYTES: usize = 64 * MIB;
/// Most calls of a run that are shown at once.
pub const MAX_SHOWN_STEPS: usize = 10_000;
/// Most bytes of the output of a replay that is shown.
pub const MAX_SHOWN_OUTPUT_BYTES: usize = MIB;
/// Most lines of the log of a replay that are shown.
pub const MAX_SHOWN_LINES: usize = 1_000;
/// Most bytes of these.
pub const MAX_SHOWN_LINES_BYTES: usize = 256 * KIB;
/// Most calls of a run that reach beyond it and are listed.
pub const MAX_SHOWN_CALLS: usize = 1_000;
/// Most bytes that are listed of the arguments of such a call, and of what was wrong with it.
pub const MAX_SHOWN_ARGUMENT_BYTES: usize = 1_000;
/// Bytes of whom a call of a list reaches.
pub const MAX_SHOWN_TARGET_BYTES: usize = 400;
