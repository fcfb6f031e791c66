-- The schema of ../sqlite/0001_init.sql, where every column is explained: bytes are called BYTEA, and
-- there are no tables without row ids. tests/it/dialect.rs sees to it that nothing else differs.
--
-- Meant for a database with the encoding UTF8 and the locale C, so that text is sorted by its bytes.

CREATE TABLE environments (
    id         TEXT   NOT NULL PRIMARY KEY,
    slug       TEXT   NOT NULL UNIQUE,
    kind       TEXT   NOT NULL CHECK (kind IN ('development', 'staging', 'production', 'preview')),
    egress     TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE api_keys (
    id             TEXT   NOT NULL PRIMARY KEY,
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    hash           BYTEA  NOT NULL UNIQUE,
    sealed         BYTEA  NOT NULL,
    hint           TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    revoked_at     BIGINT
);

CREATE TABLE variables (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    name           TEXT   NOT NULL,
    sealed         BYTEA  NOT NULL,
    is_secret      BIGINT NOT NULL,
    PRIMARY KEY (environment_id, name)
);

CREATE TABLE deployments (
    id             TEXT   NOT NULL PRIMARY KEY,
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    version        TEXT   NOT NULL,
    component      TEXT   NOT NULL,
    digest         TEXT   NOT NULL,
    size_bytes     BIGINT NOT NULL,
    imports        TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    promoted_at    BIGINT,
    UNIQUE (environment_id, version)
);

CREATE INDEX deployments_by_environment ON deployments (environment_id, id);
CREATE INDEX deployments_by_digest ON deployments (environment_id, component, digest);

CREATE TABLE deployment_tasks (
    deployment_id        TEXT   NOT NULL REFERENCES deployments (id),
    task_id              TEXT   NOT NULL,
    description          TEXT,
    retry_max_attempts   BIGINT,
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
);

CREATE TABLE current_tasks (
    environment_id TEXT NOT NULL REFERENCES environments (id),
    task_id        TEXT NOT NULL,
    deployment_id  TEXT NOT NULL REFERENCES deployments (id),
    PRIMARY KEY (environment_id, task_id)
);

CREATE TABLE promotions (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    seq            BIGINT NOT NULL,
    deployment_id  TEXT   NOT NULL REFERENCES deployments (id),
    at             BIGINT NOT NULL,
    PRIMARY KEY (environment_id, seq)
);

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
    tags                 TEXT   NOT NULL,
    metadata             TEXT,
    created_at           BIGINT NOT NULL,
    updated_at           BIGINT NOT NULL,
    delay_until          BIGINT,
    queued_at            BIGINT,
    started_at           BIGINT,
    finished_at          BIGINT,
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
    CHECK (CASE WHEN finished_at IS NULL
        THEN status = 'pending-version' OR status = 'delayed' OR status = 'queued' OR status = 'executing'
          OR status = 'waiting'
        ELSE status = 'completed' OR status = 'failed' OR status = 'crashed' OR status = 'timed-out'
          OR status = 'canceled' OR status = 'expired' OR status = 'system-failure'
        END),
    CHECK ((worker_id IS NOT NULL) = (status = 'executing'))
);

CREATE INDEX runs_ready ON runs (dequeue_at, id) WHERE status = 'queued';
CREATE INDEX runs_delayed ON runs (dequeue_at, id) WHERE status = 'delayed';
CREATE INDEX runs_expiring ON runs (expires_at, id) WHERE status = 'queued' AND expires_at IS NOT NULL;
CREATE INDEX runs_parked ON runs (environment_id, task_id, id) WHERE status = 'pending-version';
CREATE INDEX runs_executing ON runs (worker_id, id) WHERE status = 'executing';
CREATE INDEX runs_by_environment ON runs (environment_id, id);
CREATE INDEX runs_by_task ON runs (environment_id, task_id, id);
CREATE INDEX runs_by_status ON runs (environment_id, status, id);
CREATE INDEX runs_by_source ON runs (replay_of, id) WHERE replay_of IS NOT NULL;

CREATE TABLE run_payloads (
    run_id   TEXT NOT NULL PRIMARY KEY REFERENCES runs (id),
    data     TEXT,
    format   TEXT NOT NULL,
    metadata TEXT
);

CREATE TABLE trigger_keys (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    kind           TEXT   NOT NULL CHECK (kind IN ('idempotency', 'request')),
    task_id        TEXT   NOT NULL,
    key            TEXT   NOT NULL,
    run_id         TEXT   NOT NULL REFERENCES runs (id),
    expires_at     BIGINT NOT NULL,
    PRIMARY KEY (environment_id, kind, task_id, key)
);

CREATE INDEX trigger_keys_by_expiry ON trigger_keys (expires_at);

CREATE TABLE run_events (
    run_id  TEXT   NOT NULL REFERENCES runs (id),
    seq     BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    status  TEXT   NOT NULL,
    attempt BIGINT NOT NULL,
    detail  TEXT,
    PRIMARY KEY (run_id, seq)
);

CREATE TABLE run_logs (
    run_id      TEXT   NOT NULL REFERENCES runs (id),
    seq         BIGINT NOT NULL,
    attempt     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    kind        TEXT   NOT NULL CHECK (kind IN ('line', 'span')),
    level       TEXT   NOT NULL,
    source      TEXT   NOT NULL,
    message     TEXT   NOT NULL,
    attributes  TEXT,
    span        BIGINT,
    parent_span BIGINT,
    duration_us BIGINT,
    PRIMARY KEY (run_id, seq)
);

CREATE TABLE workers (
    id          TEXT   NOT NULL PRIMARY KEY,
    started_at  BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);
