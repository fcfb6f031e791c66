-- Runs that wait for a version do not wait for ever.
CREATE INDEX runs_parked_expiring ON runs (expires_at, id) WHERE status = 'pending-version' AND expires_at IS NOT NULL;
