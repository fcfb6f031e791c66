-- What ended, counted in the transaction in which it ended.
CREATE TABLE run_statistics (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    -- Of an interval of so many seconds: 60 or 3,600.
    step_s         BIGINT NOT NULL,
    begins_at      BIGINT NOT NULL,
    task_id        TEXT   NOT NULL,
    -- How long the runs took: `model::statistics::Class`. -1: they never started.
    class          BIGINT NOT NULL,
    completed      BIGINT NOT NULL,
    failed         BIGINT NOT NULL,
    -- Canceled or expired.
    dropped        BIGINT NOT NULL,
    PRIMARY KEY (environment_id, step_s, begins_at, task_id, class)
) WITHOUT ROWID;
-- With all that is read of one task: another index would be passed by for the key.
CREATE INDEX run_statistics_by_task ON run_statistics
    (environment_id, step_s, task_id, begins_at, class, completed, failed, dropped);
CREATE INDEX run_statistics_by_age ON run_statistics (step_s, begins_at);

-- Errors that look alike: those of runs that failed, crashed, or took too long.
CREATE TABLE error_groups (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    task_id        TEXT   NOT NULL,
    fingerprint    TEXT   NOT NULL,
    -- As the last run said it.
    name           TEXT   NOT NULL,
    message        TEXT   NOT NULL,
    runs           BIGINT NOT NULL,
    first_seen_at  BIGINT NOT NULL,
    last_seen_at   BIGINT NOT NULL,
    last_run       TEXT   NOT NULL,
    PRIMARY KEY (environment_id, task_id, fingerprint)
) WITHOUT ROWID;
CREATE INDEX error_groups_by_time ON error_groups (environment_id, last_seen_at, fingerprint);
CREATE INDEX error_groups_by_age ON error_groups (last_seen_at);

-- The versions in which they were seen.
CREATE TABLE error_versions (
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    fingerprint    TEXT   NOT NULL,
    deployment_id  TEXT   NOT NULL REFERENCES deployments (id),
    runs           BIGINT NOT NULL,
    PRIMARY KEY (environment_id, fingerprint, deployment_id)
) WITHOUT ROWID;

-- The group of the error with which a run ended.
ALTER TABLE runs ADD COLUMN error_group TEXT;
CREATE INDEX runs_by_error ON runs (environment_id, error_group, id) WHERE error_group IS NOT NULL;

-- What waits for its first attempt, the longest first.
CREATE INDEX runs_unstarted ON runs (environment_id, queued_at) WHERE status = 'queued' AND started_at IS NULL;

-- Lists of replays.
CREATE INDEX runs_that_replay ON runs (environment_id, id) WHERE is_replay = 1;

-- What comparisons of replays overlook and allow: rules by task, as JSON.
CREATE TABLE replay_rules (
    environment_id TEXT   NOT NULL PRIMARY KEY REFERENCES environments (id),
    rules          TEXT   NOT NULL,
    updated_at     BIGINT NOT NULL
) WITHOUT ROWID;
-- The rules of the environment when the backtest was asked for. NULL: there were none yet.
ALTER TABLE backtests ADD COLUMN rules TEXT;

-- Who uploaded it, for people: the hint of a key, or `admin`. NULL: it is not known.
ALTER TABLE deployments ADD COLUMN deployed_by TEXT;
