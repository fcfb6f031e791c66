-- Instants are milliseconds since 1970 (UTC), lengths of time are in the unit their name ends with,
-- booleans are 0 and 1, ids are the text that the API shows.

CREATE TABLE environments (
    id         TEXT   NOT NULL PRIMARY KEY,
    slug       TEXT   NOT NULL UNIQUE,
    kind       TEXT   NOT NULL CHECK (kind IN ('development', 'staging', 'production', 'preview')),
    -- One rule a line; see model/egress.rs.
    egress     TEXT   NOT NULL,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_keys (
    id             TEXT   NOT NULL PRIMARY KEY,
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    -- SHA-256 of the key, by which a request finds it.
    hash           BLOB   NOT NULL UNIQUE,
    -- The key itself, encrypted under the server's key: public tokens are signed with it.
    sealed         BLOB   NOT NULL,
    -- The last four characters, for people.
    hint           TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    revoked_at     BIGINT
) WITHOUT ROWID;

CREATE TABLE variables (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    name           TEXT   NOT NULL,
    -- The value, encrypted under the server's key.
    sealed         BLOB   NOT NULL,
    is_secret      BIGINT NOT NULL,
    PRIMARY KEY (environment_id, name)
) WITHOUT ROWID;

CREATE TABLE deployments (
    id             TEXT   NOT NULL PRIMARY KEY,
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    version        TEXT   NOT NULL,
    -- The name under which the component was uploaded. A later upload of the same name takes its place.
    component      TEXT   NOT NULL,
    digest         TEXT   NOT NULL,
    size_bytes     BIGINT NOT NULL,
    -- What the component imports, one name a line.
    imports        TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    -- When it was made current last.
    promoted_at    BIGINT,
    UNIQUE (environment_id, version)
) WITHOUT ROWID;

CREATE INDEX deployments_by_environment ON deployments (environment_id, id);
CREATE INDEX deployments_by_digest ON deployments (environment_id, component, digest);

CREATE TABLE deployment_tasks (
    deployment_id        TEXT   NOT NULL REFERENCES deployments (id),
    task_id              TEXT   NOT NULL,
    description          TEXT,
    retry_max_attempts   BIGINT,
    -- A decimal number as text: the only fraction in the schema.
    retry_factor         TEXT,
    retry_min_delay_ms   BIGINT,
    retry_max_delay_ms   BIGINT,
    retry_randomize      BIGINT,
    queue_name           TEXT,
    queue_limit          BIGINT,
    max_duration_seconds BIGINT,
    ttl_ms               BIGINT,
    machine              TEXT,
    cron_pattern         TEXT,
    cron_timezone        TEXT,
    payload_schema       TEXT,
    PRIMARY KEY (deployment_id, task_id)
) WITHOUT ROWID;

-- Which deployment runs a task now. No row: its runs wait for a version.
CREATE TABLE current_tasks (
    environment_id TEXT NOT NULL REFERENCES environments (id),
    task_id        TEXT NOT NULL,
    deployment_id  TEXT NOT NULL REFERENCES deployments (id),
    PRIMARY KEY (environment_id, task_id)
) WITHOUT ROWID;

-- The promotions of an environment, in order: what to roll back to.
CREATE TABLE promotions (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    seq            BIGINT NOT NULL,
    deployment_id  TEXT   NOT NULL REFERENCES deployments (id),
    at             BIGINT NOT NULL,
    PRIMARY KEY (environment_id, seq)
) WITHOUT ROWID;

CREATE TABLE runs (
    id                   TEXT   NOT NULL PRIMARY KEY,
    environment_id       TEXT   NOT NULL REFERENCES environments (id),
    task_id              TEXT   NOT NULL,
    status               TEXT   NOT NULL,
    deployment_id        TEXT   REFERENCES deployments (id),
    queue                TEXT   NOT NULL,
    queue_given          BIGINT NOT NULL,
    concurrency_key      TEXT,
    priority_ms          BIGINT NOT NULL,
    -- A JSON array.
    tags                 TEXT   NOT NULL,
    metadata             TEXT,
    created_at           BIGINT NOT NULL,
    updated_at           BIGINT NOT NULL,
    delay_until          BIGINT,
    queued_at            BIGINT,
    started_at           BIGINT,
    finished_at          BIGINT,
    -- The order of the queue; of a delayed run, when it becomes due.
    dequeue_at           BIGINT NOT NULL,
    ttl_ms               BIGINT,
    expires_at           BIGINT,
    attempt              BIGINT NOT NULL DEFAULT 0,
    max_attempts         BIGINT,
    max_duration_seconds BIGINT,
    machine              TEXT,
    idempotency_key      TEXT,
    idempotency_scope    TEXT,
    is_test              BIGINT NOT NULL,
    replay_of            TEXT,
    -- The fencing token: how often the run has been claimed. Whoever settles must name it.
    lease                BIGINT NOT NULL DEFAULT 0,
    losses               BIGINT NOT NULL DEFAULT 0,
    worker_id            TEXT,
    cpu_us               BIGINT NOT NULL DEFAULT 0,
    peak_memory_bytes    BIGINT NOT NULL DEFAULT 0,
    error_kind           TEXT,
    error_name           TEXT,
    error_message        TEXT,
    error_stack          TEXT,
    output               TEXT,
    -- Chains of OR: for a list behind IN, SQLite would build a temporary table with every statement.
    CHECK (CASE WHEN finished_at IS NULL
        THEN status = 'pending-version' OR status = 'delayed' OR status = 'queued' OR status = 'executing'
          OR status = 'waiting'
        ELSE status = 'completed' OR status = 'failed' OR status = 'crashed' OR status = 'timed-out'
          OR status = 'canceled' OR status = 'expired' OR status = 'system-failure'
        END),
    CHECK ((worker_id IS NOT NULL) = (status = 'executing'))
) WITHOUT ROWID;

-- The queue. History does not slow it down: finished runs are not in it.
CREATE INDEX runs_ready ON runs (dequeue_at, id) WHERE status = 'queued';
CREATE INDEX runs_delayed ON runs (dequeue_at, id) WHERE status = 'delayed';
CREATE INDEX runs_expiring ON runs (expires_at, id) WHERE status = 'queued' AND expires_at IS NOT NULL;
CREATE INDEX runs_parked ON runs (environment_id, task_id, id) WHERE status = 'pending-version';
CREATE INDEX runs_executing ON runs (worker_id, id) WHERE status = 'executing';
-- Pages of runs, newest first.
CREATE INDEX runs_by_environment ON runs (environment_id, id);
CREATE INDEX runs_by_task ON runs (environment_id, task_id, id);
CREATE INDEX runs_by_status ON runs (environment_id, status, id);
CREATE INDEX runs_by_source ON runs (replay_of, id) WHERE replay_of IS NOT NULL;

-- What a run was given. Written once, apart from the row that changes, so that a change of status
-- does not write a large payload again.
CREATE TABLE run_payloads (
    run_id   TEXT NOT NULL PRIMARY KEY REFERENCES runs (id),
    data     TEXT,
    format   TEXT NOT NULL,
    -- As given at the trigger: a replay begins with it.
    metadata TEXT
) WITHOUT ROWID;

-- Keys under which a second trigger finds the first one's run: `idempotency` keys that callers
-- choose, and `request` keys that clients send with every try of one request.
CREATE TABLE trigger_keys (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    kind           TEXT   NOT NULL CHECK (kind IN ('idempotency', 'request')),
    task_id        TEXT   NOT NULL,
    key            TEXT   NOT NULL,
    run_id         TEXT   NOT NULL REFERENCES runs (id),
    expires_at     BIGINT NOT NULL,
    PRIMARY KEY (environment_id, kind, task_id, key)
) WITHOUT ROWID;

CREATE INDEX trigger_keys_by_expiry ON trigger_keys (expires_at);

-- One row for every change of a run's status, written with it.
CREATE TABLE run_events (
    run_id  TEXT   NOT NULL REFERENCES runs (id),
    seq     BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    status  TEXT   NOT NULL,
    attempt BIGINT NOT NULL,
    -- Why, for people.
    detail  TEXT,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

CREATE TABLE run_logs (
    run_id      TEXT   NOT NULL REFERENCES runs (id),
    seq         BIGINT NOT NULL,
    attempt     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    kind        TEXT   NOT NULL CHECK (kind IN ('line', 'span')),
    level       TEXT   NOT NULL,
    source      TEXT   NOT NULL,
    message     TEXT   NOT NULL,
    -- A JSON object.
    attributes  TEXT,
    -- The span that this entry is, or lies in; and the span around it.
    span        BIGINT,
    parent_span BIGINT,
    duration_us BIGINT,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

-- Server processes. A run that is executing on one whose lease is over is lost.
CREATE TABLE workers (
    id          TEXT   NOT NULL PRIMARY KEY,
    started_at  BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
) WITHOUT ROWID;
