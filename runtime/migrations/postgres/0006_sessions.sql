-- Operators who are logged in to the page. A session is found by a hash of its token and of the admin
-- key that began it: with another admin key it is none.
CREATE TABLE sessions (
    hash       BYTEA  NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_end ON sessions (expires_at);
