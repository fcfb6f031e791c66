-- Replays of many runs on one version, compared with what was then.
CREATE TABLE backtests (
    id             TEXT   NOT NULL PRIMARY KEY,
    environment_id TEXT   NOT NULL REFERENCES environments (id),
    status         TEXT   NOT NULL CHECK (status IN ('pending', 'completed', 'aborted', 'failed')),
    -- The version that is tested; and the one that it is compared with, where that is not what was recorded.
    deployment_id  TEXT   NOT NULL REFERENCES deployments (id),
    against_id     TEXT   REFERENCES deployments (id),
    -- What was asked for, as JSON.
    request        TEXT   NOT NULL,
    -- Most runs that it replays.
    planned        BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    completed_at   BIGINT,
    -- The last source run that was looked at, newest first: where to go on after a crash.
    last_run       TEXT,
    -- Runs that were looked at.
    done           BIGINT NOT NULL DEFAULT 0,
    -- A gate: most differences with which the version is promoted at the end. NULL: there is no gate.
    allowed        BIGINT,
    -- Whether that gate was open. NULL: that is not decided, or there is none.
    is_open        BIGINT,
    -- Why it failed.
    reason         TEXT
) WITHOUT ROWID;
CREATE INDEX backtests_by_environment ON backtests (environment_id, id);
CREATE INDEX backtests_pending ON backtests (id) WHERE status = 'pending';

-- One row for every source run: nothing is counted twice.
CREATE TABLE backtest_replays (
    backtest_id TEXT NOT NULL REFERENCES backtests (id),
    source_id   TEXT NOT NULL,
    task_id     TEXT NOT NULL,
    verdict     TEXT NOT NULL,
    -- The comparison, as JSON. NULL: there is none.
    comparison  TEXT,
    -- Why there is none.
    note        TEXT,
    PRIMARY KEY (backtest_id, source_id)
) WITHOUT ROWID;
CREATE INDEX backtest_replays_by_verdict ON backtest_replays (backtest_id, verdict, source_id);

-- What a version must stand before it is made current, as JSON. NULL: nothing.
ALTER TABLE environments ADD COLUMN backtest_policy TEXT;
