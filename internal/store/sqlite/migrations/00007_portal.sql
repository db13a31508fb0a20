-- +goose Up
-- The one account of the portal, and the browsers that are signed in. Of a session's
-- token there is only the hash.
CREATE TABLE portal_accounts (
	instance TEXT   NOT NULL PRIMARY KEY REFERENCES instances (id),
	version  TEXT   NOT NULL,
	secrets  BLOB   NOT NULL, -- sealed: the one-time password, or the hash of the chosen one
	changed  BIGINT NOT NULL
);
CREATE TABLE portal_sessions (
	instance TEXT   NOT NULL REFERENCES instances (id),
	id       TEXT   NOT NULL,
	version  TEXT   NOT NULL, -- of the account
	created  BIGINT NOT NULL,
	used     BIGINT NOT NULL,
	expires  BIGINT NOT NULL,
	PRIMARY KEY (instance, id)
) WITHOUT ROWID;
CREATE INDEX portal_sessions_expires ON portal_sessions (expires);

-- +goose Down
DROP TABLE portal_sessions;
DROP TABLE portal_accounts;
