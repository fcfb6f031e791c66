-- Everything around a run: where it came from, what it waits for, and what can be found by it.

ALTER TABLE runs ADD COLUMN parent_id TEXT;
ALTER TABLE runs ADD COLUMN root_id TEXT;
ALTER TABLE runs ADD COLUMN depth BIGINT NOT NULL DEFAULT 0;
-- Whether it, or the root of its tree, is a replay.
ALTER TABLE runs ADD COLUMN is_replay BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN batch_id TEXT;
ALTER TABLE runs ADD COLUMN schedule_id TEXT;
ALTER TABLE runs ADD COLUMN bulk_id TEXT;
-- A queued run that its queue holds back: the queue is paused, or all its places are taken.
ALTER TABLE runs ADD COLUMN held BIGINT NOT NULL DEFAULT 0;
-- A delayed run that further triggers with this key push back, until `debounce_until` at the latest.
ALTER TABLE runs ADD COLUMN debounce_key TEXT;
ALTER TABLE runs ADD COLUMN debounce_until BIGINT;
-- The label of the deployment that a parked run waits for.
ALTER TABLE runs ADD COLUMN external_deployment TEXT;
ALTER TABLE deployments ADD COLUMN external_id TEXT;
-- Most runs of the environment that execute at a time. NULL: as many as the workers take.
ALTER TABLE environments ADD COLUMN concurrency_limit BIGINT;
-- Of an environment for a branch: the environment whose keys open it, and the branch.
ALTER TABLE environments ADD COLUMN parent_id TEXT;
ALTER TABLE environments ADD COLUMN branch TEXT;
CREATE UNIQUE INDEX environments_by_branch ON environments (parent_id, branch) WHERE parent_id IS NOT NULL;

UPDATE runs SET is_replay = 1 WHERE replay_of IS NOT NULL;

DROP INDEX runs_ready;
CREATE INDEX runs_ready ON runs (dequeue_at, id) WHERE status = 'queued' AND held = 0;
CREATE INDEX runs_held ON runs (environment_id, queue, (COALESCE(concurrency_key, '')), dequeue_at, id)
    WHERE status = 'queued' AND held = 1;
CREATE INDEX runs_held_in_queue ON runs (environment_id, queue, dequeue_at, id) WHERE status = 'queued' AND held = 1;
CREATE INDEX runs_held_in_environment ON runs (environment_id, dequeue_at, id) WHERE status = 'queued' AND held = 1;
-- The status is in these two so that counting reads nothing else.
DROP INDEX runs_executing;
CREATE INDEX runs_executing ON runs (environment_id, queue, (COALESCE(concurrency_key, '')), status, worker_id, id)
    WHERE status = 'executing';
CREATE INDEX runs_in_queue ON runs (environment_id, queue, status) WHERE status = 'queued';
CREATE INDEX runs_debounced ON runs (environment_id, task_id, debounce_key) WHERE status = 'delayed' AND debounce_key IS NOT NULL;
CREATE INDEX runs_awaiting ON runs (environment_id, external_deployment)
    WHERE status = 'pending-version' AND external_deployment IS NOT NULL;
CREATE INDEX deployments_by_label ON deployments (environment_id, external_id, id) WHERE external_id IS NOT NULL;
CREATE INDEX runs_by_deployment ON runs (environment_id, deployment_id, id) WHERE deployment_id IS NOT NULL;
CREATE INDEX runs_by_queue ON runs (environment_id, queue, id);
CREATE INDEX runs_by_machine ON runs (environment_id, machine, id) WHERE machine IS NOT NULL;
CREATE INDEX runs_by_schedule ON runs (schedule_id, id) WHERE schedule_id IS NOT NULL;
CREATE INDEX runs_by_bulk ON runs (bulk_id, id) WHERE bulk_id IS NOT NULL;
CREATE INDEX runs_of_bulk_unstarted ON runs (bulk_id) WHERE bulk_id IS NOT NULL AND started_at IS NULL AND finished_at IS NULL;
CREATE INDEX runs_by_parent ON runs (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_that_test ON runs (environment_id, id) WHERE is_test = 1;

-- The tags of runs, to find the runs of a tag.
CREATE TABLE run_tags (
    environment_id TEXT NOT NULL,
    tag            TEXT NOT NULL,
    run_id         TEXT NOT NULL REFERENCES runs (id),
    PRIMARY KEY (environment_id, tag, run_id)
);

-- What is known of queues beside their runs. A queue without a row has no limit and is not paused.
CREATE TABLE queues (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    name           TEXT   NOT NULL,
    id             TEXT   NOT NULL UNIQUE,
    -- What the newest deployment declares.
    declared_limit BIGINT,
    -- What somebody put in its place.
    override_limit BIGINT,
    overridden_at  BIGINT,
    paused_at      BIGINT,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (environment_id, name)
);

CREATE TABLE batches (
    id              TEXT   NOT NULL PRIMARY KEY,
    environment_id  TEXT   NOT NULL REFERENCES environments (id),
    -- Items that its maker announced.
    run_count       BIGINT NOT NULL,
    idempotency_key TEXT,
    -- The same on all tries of the request that announced it.
    request_key     TEXT,
    parent_id       TEXT,
    created_at      BIGINT NOT NULL,
    -- When the last announced item had arrived.
    sealed_at       BIGINT,
    -- When its last run had ended.
    finished_at     BIGINT
);
CREATE INDEX batches_by_environment ON batches (environment_id, id);
CREATE UNIQUE INDEX batches_by_key ON batches (environment_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX batches_by_request ON batches (environment_id, request_key) WHERE request_key IS NOT NULL;

-- One row for every item that arrived: the run it made, or found, or why there is none.
CREATE TABLE batch_items (
    batch_id TEXT   NOT NULL REFERENCES batches (id),
    item     BIGINT NOT NULL,
    task_id  TEXT   NOT NULL,
    run_id   TEXT,
    -- Whether its run was there already: then the run is another batch's, or none's.
    found    BIGINT NOT NULL DEFAULT 0,
    error    TEXT,
    PRIMARY KEY (batch_id, item)
);
CREATE INDEX batch_items_found ON batch_items (run_id, batch_id) WHERE found = 1;

CREATE TABLE schedules (
    id                TEXT   NOT NULL PRIMARY KEY,
    environment_id    TEXT   NOT NULL REFERENCES environments (id),
    -- `declarative`: from a component's description; `imperative`: from the API.
    kind              TEXT   NOT NULL CHECK (kind = 'declarative' OR kind = 'imperative'),
    task_id           TEXT   NOT NULL,
    cron              TEXT   NOT NULL,
    timezone          TEXT   NOT NULL,
    external_id       TEXT,
    -- Of the caller; of a declarative schedule, its task.
    deduplication_key TEXT   NOT NULL,
    is_active         BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    last_fire_at      BIGINT,
    -- NULL: never, because it is inactive or its pattern has no further match.
    next_fire_at      BIGINT,
    UNIQUE (environment_id, kind, deduplication_key)
);
CREATE INDEX schedules_due ON schedules (next_fire_at, id) WHERE next_fire_at IS NOT NULL;
CREATE INDEX schedules_by_environment ON schedules (environment_id, id);

CREATE TABLE waitpoints (
    id                TEXT   NOT NULL PRIMARY KEY,
    environment_id    TEXT   NOT NULL REFERENCES environments (id),
    status            TEXT   NOT NULL CHECK (status = 'waiting' OR status = 'completed' OR status = 'timed-out'),
    tags              TEXT   NOT NULL,
    idempotency_key   TEXT,
    key_expires_at    BIGINT,
    created_at        BIGINT NOT NULL,
    timeout_at        BIGINT,
    completed_at      BIGINT,
    -- JSON text, where it was completed with any.
    output            TEXT,
    output_is_error   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX waitpoints_by_environment ON waitpoints (environment_id, id);
CREATE INDEX waitpoints_by_status ON waitpoints (environment_id, status, id);
CREATE INDEX waitpoints_waiting ON waitpoints (environment_id, status) WHERE status = 'waiting';
CREATE INDEX waitpoints_due ON waitpoints (timeout_at, id) WHERE status = 'waiting' AND timeout_at IS NOT NULL;
CREATE UNIQUE INDEX waitpoints_by_key ON waitpoints (environment_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- The tags of wait tokens, to find the tokens of a tag.
CREATE TABLE waitpoint_tags (
    environment_id TEXT NOT NULL,
    tag            TEXT NOT NULL,
    waitpoint_id   TEXT NOT NULL REFERENCES waitpoints (id),
    PRIMARY KEY (environment_id, tag, waitpoint_id)
);

CREATE TABLE bulk_actions (
    id             TEXT   NOT NULL PRIMARY KEY,
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    kind           TEXT   NOT NULL CHECK (kind = 'cancel' OR kind = 'replay'),
    status         TEXT   NOT NULL CHECK (status = 'pending' OR status = 'completed' OR status = 'aborted'),
    name           TEXT,
    -- What was asked for, as JSON: a filter or a list of runs.
    selection      TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    completed_at   BIGINT,
    -- The last source run that was looked at: where to go on after a crash.
    last_run       TEXT,
    -- Members to which it was done, and the others.
    done           BIGINT NOT NULL DEFAULT 0,
    not_done       BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX bulk_actions_by_environment ON bulk_actions (environment_id, id);
CREATE INDEX bulk_actions_pending ON bulk_actions (id) WHERE status = 'pending';

-- One row for every source run, written in the transaction that acts on it: nothing is done twice.
CREATE TABLE bulk_members (
    bulk_id   TEXT   NOT NULL REFERENCES bulk_actions (id),
    source_id TEXT   NOT NULL,
    outcome   TEXT   NOT NULL CHECK (outcome = 'done' OR outcome = 'skipped' OR outcome = 'failed'),
    reason    TEXT,
    new_run   TEXT,
    PRIMARY KEY (bulk_id, source_id)
);

-- Large payloads: uploaded before the trigger that names them, which copies them; kept for a day.
CREATE TABLE packets (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    path           TEXT   NOT NULL,
    format         TEXT   NOT NULL,
    size_bytes     BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    data           TEXT   NOT NULL,
    PRIMARY KEY (environment_id, path)
);
CREATE INDEX packets_by_age ON packets (created_at, environment_id, path);
CREATE INDEX packets_by_size ON packets (environment_id, size_bytes);

-- One-time tokens that were used, by the SHA-256 of the token.
CREATE TABLE used_tokens (
    hash       BYTEA  NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

-- Chunks of a run's realtime streams.
CREATE TABLE stream_chunks (
    run_id     TEXT   NOT NULL REFERENCES runs (id),
    stream     TEXT   NOT NULL,
    seq        BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    data       TEXT   NOT NULL,
    PRIMARY KEY (run_id, stream, seq)
);
