-- +goose Up
CREATE TABLE instances (
	id         TEXT    NOT NULL PRIMARY KEY,
	scope      TEXT    NOT NULL UNIQUE,
	allocation TEXT    NOT NULL,
	token_key  BLOB    NOT NULL, -- sealed
	created    BIGINT  NOT NULL  -- like every time here: nanoseconds since 1970, UTC
);

CREATE TABLE policies (
	instance TEXT NOT NULL REFERENCES instances (id),
	name_key TEXT NOT NULL, -- like every *_key: the name in lower case
	name     TEXT NOT NULL,
	rights   TEXT NOT NULL,
	keys     BLOB NOT NULL, -- sealed
	PRIMARY KEY (instance, name_key)
);

CREATE TABLE hubs (
	instance     TEXT    NOT NULL REFERENCES instances (id),
	id           TEXT    NOT NULL,
	kind         TEXT    NOT NULL,
	host_name    TEXT    NOT NULL,
	weight       INTEGER NOT NULL,
	apply_policy INTEGER NOT NULL,
	PRIMARY KEY (instance, id)
);

CREATE TABLE hub_policies (
	instance TEXT    NOT NULL,
	hub      TEXT    NOT NULL,
	name_key TEXT    NOT NULL,
	name     TEXT    NOT NULL,
	rights   INTEGER NOT NULL,
	keys     BLOB    NOT NULL, -- sealed
	PRIMARY KEY (instance, hub, name_key),
	FOREIGN KEY (instance, hub) REFERENCES hubs (instance, id)
);

CREATE TABLE enrollments (
	instance TEXT   NOT NULL REFERENCES instances (id),
	kind     TEXT   NOT NULL, -- individual, group
	id_key   TEXT   NOT NULL,
	id       TEXT   NOT NULL,
	body     TEXT   NOT NULL, -- JSON, no secrets
	secrets  BLOB,            -- sealed, NULL if there are none
	etag     TEXT   NOT NULL,
	created  BIGINT NOT NULL,
	updated  BIGINT NOT NULL,
	PRIMARY KEY (instance, kind, id_key)
) WITHOUT ROWID;
CREATE INDEX enrollments_updated ON enrollments (instance, kind, updated, id_key);

-- Which enrollment holds a certificate, and for groups the certificate itself.
CREATE TABLE enrollment_certificates (
	instance   TEXT NOT NULL,
	thumbprint BLOB NOT NULL, -- SHA-256 of the DER
	kind       TEXT NOT NULL,
	id_key     TEXT NOT NULL,
	id         TEXT NOT NULL,
	subject    BLOB,          -- SHA-256 of the DER subject; NULL unless a group's
	der        BLOB,          -- NULL unless a group's
	PRIMARY KEY (instance, thumbprint),
	FOREIGN KEY (instance, kind, id_key) REFERENCES enrollments (instance, kind, id_key) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX enrollment_certificates_owner ON enrollment_certificates (instance, kind, id_key);
CREATE INDEX enrollment_certificates_subject ON enrollment_certificates (instance, subject) WHERE subject IS NOT NULL;

CREATE TABLE ca_certificates (
	instance     TEXT    NOT NULL REFERENCES instances (id),
	name_key     TEXT    NOT NULL,
	name         TEXT    NOT NULL,
	der          BLOB    NOT NULL,
	thumbprint   BLOB    NOT NULL,
	subject      BLOB    NOT NULL,
	verified     INTEGER NOT NULL,
	code         TEXT    NOT NULL, -- outstanding verification code, '' if none
	code_expires BIGINT  NOT NULL,
	etag         TEXT    NOT NULL,
	created      BIGINT  NOT NULL,
	updated      BIGINT  NOT NULL,
	PRIMARY KEY (instance, name_key)
);
CREATE INDEX ca_certificates_subject ON ca_certificates (instance, subject);
CREATE INDEX ca_certificates_thumbprint ON ca_certificates (instance, thumbprint);

CREATE TABLE ca_references (
	instance TEXT NOT NULL,
	ca_key   TEXT NOT NULL,
	kind     TEXT NOT NULL,
	id_key   TEXT NOT NULL,
	id       TEXT NOT NULL,
	PRIMARY KEY (instance, ca_key, kind, id_key),
	FOREIGN KEY (instance, ca_key) REFERENCES ca_certificates (instance, name_key),
	FOREIGN KEY (instance, kind, id_key) REFERENCES enrollments (instance, kind, id_key) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX ca_references_owner ON ca_references (instance, kind, id_key);

-- One row for each device that ever registered, with its latest operation.
CREATE TABLE registrations (
	instance      TEXT   NOT NULL REFERENCES instances (id),
	id_key        TEXT   NOT NULL,
	id            TEXT   NOT NULL,
	entry_kind    TEXT   NOT NULL,
	entry_key     TEXT   NOT NULL,
	entry_id      TEXT   NOT NULL,
	attestation   TEXT   NOT NULL,
	evidence      TEXT   NOT NULL,
	status        TEXT   NOT NULL,
	substatus     TEXT   NOT NULL,
	hub           TEXT   NOT NULL, -- '' until first assigned
	device_id     TEXT   NOT NULL,
	error_code    TEXT   NOT NULL, -- '' unless failed
	error_message TEXT   NOT NULL,
	operation     TEXT   NOT NULL,
	etag          TEXT   NOT NULL,
	created       BIGINT NOT NULL,
	updated       BIGINT NOT NULL,
	PRIMARY KEY (instance, id_key)
) WITHOUT ROWID;
CREATE INDEX registrations_group ON registrations (instance, entry_key, id_key) WHERE entry_kind = 'group';

-- Earlier operations, for devices that still poll them.
CREATE TABLE operations (
	instance  TEXT   NOT NULL,
	operation TEXT   NOT NULL,
	id_key    TEXT   NOT NULL,
	body      TEXT   NOT NULL, -- JSON of the registration as the operation left it
	expires   BIGINT NOT NULL,
	PRIMARY KEY (instance, operation)
) WITHOUT ROWID;
CREATE INDEX operations_expires ON operations (expires);
CREATE INDEX operations_device ON operations (instance, id_key);

CREATE TABLE hub_devices (
	instance   TEXT    NOT NULL,
	hub        TEXT    NOT NULL,
	device_id  TEXT    NOT NULL, -- case counts
	generation TEXT    NOT NULL,
	auth_type  TEXT    NOT NULL,
	primary_thumbprint   TEXT NOT NULL,
	secondary_thumbprint TEXT NOT NULL,
	keys       BLOB,             -- sealed, NULL if there are none
	iot_edge   INTEGER NOT NULL,
	tags       TEXT,             -- JSON
	desired    TEXT,             -- JSON
	etag       TEXT    NOT NULL,
	created    BIGINT  NOT NULL,
	updated    BIGINT  NOT NULL,
	PRIMARY KEY (instance, hub, device_id),
	FOREIGN KEY (instance, hub) REFERENCES hubs (instance, id)
) WITHOUT ROWID;

-- Without statistics SQLite takes the primary key of a WITHOUT ROWID table, by its
-- first column alone, for better than an index by two or three: one instance is
-- nearly the whole table. These say so, once; ANALYZE is never run, so that plans
-- do not change from one day to the next.
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('enrollments', 'enrollments', '1000000 1000000 500000 1'),
	('enrollments', 'enrollments_updated', '1000000 1000000 500000 2 1'),
	('enrollment_certificates', 'enrollment_certificates', '1000000 1000000 1'),
	('enrollment_certificates', 'enrollment_certificates_owner', '1000000 1000000 500000 1'),
	('enrollment_certificates', 'enrollment_certificates_subject', '1000 1000 1'),
	('ca_references', 'ca_references', '1000000 1000000 1000 1000 1'),
	('ca_references', 'ca_references_owner', '1000000 1000000 500000 1'),
	('registrations', 'registrations', '1000000 1000000 1'),
	('registrations', 'registrations_group', '1000000 1000000 10000 1'),
	('operations', 'operations', '100000 100000 1'),
	('operations', 'operations_expires', '100000 2'),
	('operations', 'operations_device', '100000 100000 1');

-- +goose Down
DROP TABLE hub_devices;
DROP TABLE operations;
DROP TABLE registrations;
DROP TABLE ca_references;
DROP TABLE ca_certificates;
DROP TABLE enrollment_certificates;
DROP TABLE enrollments;
DROP TABLE hub_policies;
DROP TABLE hubs;
DROP TABLE policies;
DROP TABLE instances;
