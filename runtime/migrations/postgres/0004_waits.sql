-- Runs that wait, what they wait for, and the journals that bring them back. Hooks of tasks.

-- The attempt whose journal is stored, as far as it is; 0: none. Negative: the attempt that has waited and whose
-- journal is not whole.
ALTER TABLE runs ADD COLUMN journaled_attempt BIGINT NOT NULL DEFAULT 0;
-- Whether the journal of its last attempt is the whole of it. NULL: not known yet. 0: it passed its limit.
ALTER TABLE runs ADD COLUMN is_replayable BIGINT;
-- Whether the run that triggered it waits for it.
ALTER TABLE runs ADD COLUMN is_awaited BIGINT NOT NULL DEFAULT 0;
-- Runs that have ended and whose journal is kept, by their age.
CREATE INDEX runs_with_journals ON runs (finished_at) WHERE journaled_attempt > 0 AND finished_at IS NOT NULL;

-- What the host answered in an attempt, in pieces, sealed under the server's key.
CREATE TABLE run_journals (
    run_id  TEXT   NOT NULL REFERENCES runs (id),
    attempt BIGINT NOT NULL,
    seq     BIGINT NOT NULL,
    data    BYTEA  NOT NULL,
    PRIMARY KEY (run_id, attempt, seq)
);

-- One row for everything that a waiting run still waits for, and for no other run.
CREATE TABLE run_waits (
    run_id       TEXT   NOT NULL REFERENCES runs (id),
    -- The place in the list of what it waits for; and, of a batch, the place of the run in that.
    place        BIGINT NOT NULL,
    item         BIGINT NOT NULL,
    -- Whether it waits for all places; else one is enough.
    needs_all    BIGINT NOT NULL,
    -- A moment, the end of a run, or the end of a wait token.
    due_at       BIGINT,
    target_run   TEXT,
    target_token TEXT,
    PRIMARY KEY (run_id, place, item),
    CHECK (CASE WHEN due_at IS NULL
        THEN (target_run IS NULL) <> (target_token IS NULL)
        ELSE target_run IS NULL AND target_token IS NULL
        END)
);
CREATE INDEX run_waits_due ON run_waits (due_at, run_id) WHERE due_at IS NOT NULL;
CREATE INDEX run_waits_for_run ON run_waits (target_run, run_id) WHERE target_run IS NOT NULL;
CREATE INDEX run_waits_for_token ON run_waits (target_token, run_id) WHERE target_token IS NOT NULL;

-- Which hooks a task has, as words. NULL: none.
ALTER TABLE deployment_tasks ADD COLUMN hooks TEXT;
-- Whether the journals of its runs are kept after their ends.
ALTER TABLE deployment_tasks ADD COLUMN keeps_journals BIGINT NOT NULL DEFAULT 1;
CREATE INDEX deployment_tasks_with_hooks ON deployment_tasks (hooks) WHERE hooks IS NOT NULL;

-- Runs that have ended and whose hooks are to be called: those of the deployment.
CREATE TABLE run_hooks (
    run_id        TEXT   NOT NULL PRIMARY KEY REFERENCES runs (id),
    deployment_id TEXT   NOT NULL,
    due_at        BIGINT NOT NULL,
    tries         BIGINT NOT NULL
);
CREATE INDEX run_hooks_due ON run_hooks (due_at, run_id);

-- The call of an attempt that made a wait token: done again, it finds the token.
ALTER TABLE waitpoints ADD COLUMN call_key TEXT;
CREATE UNIQUE INDEX waitpoints_by_call ON waitpoints (call_key) WHERE call_key IS NOT NULL;

-- The run whose attempt triggers with this key: it counts until that run has ended. NULL: it counts until it expires.
ALTER TABLE trigger_keys ADD COLUMN caller_id TEXT;

-- Runs that were canceled, or had ended below one that was, and whose children after one of them are still to be
-- canceled.
CREATE TABLE cancels_left (
    run_id   TEXT NOT NULL PRIMARY KEY REFERENCES runs (id),
    after_id TEXT NOT NULL
);
