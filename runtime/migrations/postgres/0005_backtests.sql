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
    -- Whether its runs were chosen when it was asked for: then they are in backtest_pages.
    is_planned     BIGINT NOT NULL,
    -- Runs that were looked at, and how many of them came to each verdict.
    done             BIGINT NOT NULL DEFAULT 0,
    same             BIGINT NOT NULL DEFAULT 0,
    fixed            BIGINT NOT NULL DEFAULT 0,
    output_changed   BIGINT NOT NULL DEFAULT 0,
    effects_changed  BIGINT NOT NULL DEFAULT 0,
    newly_failing    BIGINT NOT NULL DEFAULT 0,
    over_budget      BIGINT NOT NULL DEFAULT 0,
    payload_rejected BIGINT NOT NULL DEFAULT 0,
    not_replayable   BIGINT NOT NULL DEFAULT 0,
    -- Of those that are not replayable: how many because the server could not execute the version on them.
    troubled         BIGINT NOT NULL DEFAULT 0,
    -- A gate: most differences with which the version is promoted at the end. NULL: there is no gate.
    allowed        BIGINT,
    -- Of a gate: the least share of runs of each task, in percent, about which something must be known.
    min_known      BIGINT,
    -- Of a gate: the last promotion that concerned its tasks when it was asked for; 0: there was none.
    decided_seq    BIGINT,
    -- Whether that gate was open. NULL: that is not decided, or there is none.
    is_open        BIGINT,
    -- Why it failed.
    reason         TEXT,
    -- Of a gate that was decided: tasks of which nothing is known, a JSON list.
    untested       TEXT,
    -- Grows with every step that any backtest takes: whose is lowest has waited longest.
    turn           BIGINT NOT NULL DEFAULT 0,
    -- Steps that failed, one after the other.
    failures       BIGINT NOT NULL DEFAULT 0,
    -- Whether nobody sees it any more: it is being deleted.
    is_deleted     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX backtests_by_environment ON backtests (environment_id, id);
CREATE INDEX backtests_pending ON backtests (turn, id) WHERE status = 'pending';
CREATE INDEX backtests_pending_of ON backtests (environment_id) WHERE status = 'pending';
CREATE INDEX backtests_ended ON backtests (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX backtests_deleted ON backtests (is_deleted, id) WHERE is_deleted = 1;

-- The runs of a backtest that were chosen when it was asked for, newest first, some at a time.
CREATE TABLE backtest_pages (
    backtest_id TEXT NOT NULL REFERENCES backtests (id),
    -- The oldest of these runs: the place to go on from.
    oldest      TEXT NOT NULL,
    -- A run a line.
    runs        TEXT NOT NULL,
    PRIMARY KEY (backtest_id, oldest)
);

-- How many runs of each task were looked at, and about how many something is known.
CREATE TABLE backtest_tasks (
    backtest_id TEXT   NOT NULL REFERENCES backtests (id),
    task_id     TEXT   NOT NULL,
    done        BIGINT NOT NULL,
    known       BIGINT NOT NULL,
    PRIMARY KEY (backtest_id, task_id)
);

-- One row for every source run: nothing is counted twice.
CREATE TABLE backtest_replays (
    backtest_id TEXT NOT NULL REFERENCES backtests (id),
    source_id   TEXT NOT NULL,
    task_id     TEXT NOT NULL,
    verdict     TEXT NOT NULL,
    -- Whether the server could not execute the version on it.
    is_troubled BIGINT NOT NULL,
    -- The comparison, as JSON, sealed. NULL: there is none.
    comparison  BYTEA,
    -- Why there is none.
    note        TEXT,
    PRIMARY KEY (backtest_id, source_id)
);
CREATE INDEX backtest_replays_by_verdict ON backtest_replays (backtest_id, verdict, source_id);

-- Whether a version was made current past the policy of its environment, by the operator.
ALTER TABLE promotions ADD COLUMN is_past_policy BIGINT NOT NULL DEFAULT 0;
CREATE INDEX promotions_past_policy ON promotions (deployment_id, at) WHERE is_past_policy = 1;

-- What a version must stand before it is made current, as JSON. NULL: nothing.
ALTER TABLE environments ADD COLUMN backtest_policy TEXT;

-- Runs that go on where another one failed: one for each source, because what it does is done for real.
CREATE TABLE fix_forwards (
    source_id TEXT NOT NULL PRIMARY KEY,
    -- The last that was made for it.
    run_id    TEXT NOT NULL
);
