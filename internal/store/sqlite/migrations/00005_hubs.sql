-- +goose Up
ALTER TABLE hubs ADD COLUMN location TEXT NOT NULL DEFAULT '';
ALTER TABLE hubs ADD COLUMN endpoint TEXT NOT NULL DEFAULT ''; -- '' for an embedded hub, like key_name
ALTER TABLE hubs ADD COLUMN key_name TEXT NOT NULL DEFAULT '';
ALTER TABLE hubs ADD COLUMN keys     BLOB;                     -- sealed, NULL for an embedded hub
CREATE UNIQUE INDEX hubs_host ON hubs (instance, lower(host_name));

ALTER TABLE registrations ADD COLUMN error_number INTEGER NOT NULL DEFAULT 0; -- of the hub, 0 if it gave none
ALTER TABLE registrations ADD COLUMN payload      TEXT;                       -- JSON, for the device

-- Devices that are called otherwise at their hub: an identity may belong to one of them.
CREATE INDEX registrations_renamed ON registrations (instance, hub, device_id) WHERE device_id <> id AND hub <> '';

-- What open registrations still have to do.
CREATE TABLE work (
	instance  TEXT   NOT NULL,
	id_key    TEXT   NOT NULL,
	operation TEXT   NOT NULL,
	hub       TEXT   NOT NULL, -- '' while a webhook has to choose
	since     BIGINT NOT NULL,
	body      TEXT   NOT NULL, -- JSON, no secrets
	PRIMARY KEY (instance, id_key),
	FOREIGN KEY (instance, id_key) REFERENCES registrations (instance, id_key) ON DELETE CASCADE
) WITHOUT ROWID;

-- Identities that may stand at a hub over the wire without being in their device's record.
CREATE TABLE remnants (
	instance   TEXT    NOT NULL,
	hub        TEXT    NOT NULL,
	device_id  TEXT    NOT NULL,
	id_key     TEXT    NOT NULL,
	id         TEXT    NOT NULL,
	state      TEXT    NOT NULL, -- placing, leaving
	stale      INTEGER NOT NULL,
	since      BIGINT  NOT NULL,
	attempts   INTEGER NOT NULL,
	due        BIGINT  NOT NULL,
	last_error TEXT    NOT NULL,
	owner      TEXT    NOT NULL,
	busy_until BIGINT  NOT NULL,
	PRIMARY KEY (instance, hub, device_id),
	FOREIGN KEY (instance, hub) REFERENCES hubs (instance, id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX remnants_device ON remnants (instance, id_key);
CREATE INDEX remnants_due ON remnants (instance, hub, due) WHERE state = 'leaving';

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('registrations', 'registrations_renamed', '10000 10000 1000 1'),
	('work', 'work', '10000 10000 1'),
	('remnants', 'remnants', '10000 10000 1000 1'),
	('remnants', 'remnants_device', '10000 10000 1'),
	('remnants', 'remnants_due', '10000 10000 1000 1');

-- +goose Down
DROP TABLE remnants;
DROP TABLE work;
DROP INDEX registrations_renamed;
ALTER TABLE registrations DROP COLUMN payload;
ALTER TABLE registrations DROP COLUMN error_number;
DROP INDEX hubs_host;
ALTER TABLE hubs DROP COLUMN keys;
ALTER TABLE hubs DROP COLUMN key_name;
ALTER TABLE hubs DROP COLUMN endpoint;
ALTER TABLE hubs DROP COLUMN location;
