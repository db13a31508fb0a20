-- +goose Up
-- One row for each device, reason and source of refusals, with the latest one.
CREATE TABLE decisions (
	seq             INTEGER NOT NULL PRIMARY KEY,
	instance        TEXT    NOT NULL REFERENCES instances (id),
	id_key          TEXT    NOT NULL,
	reason          TEXT    NOT NULL,
	source          TEXT    NOT NULL, -- the caller's address, of IPv6 its network
	time            BIGINT  NOT NULL, -- of the latest
	first           BIGINT  NOT NULL,
	count           BIGINT  NOT NULL,
	tracking_id     TEXT    NOT NULL,
	registration_id TEXT    NOT NULL,
	entry_kind      TEXT    NOT NULL, -- '' where no enrollment was reached, and so is the ID
	entry_key       TEXT    NOT NULL,
	entry_id        TEXT    NOT NULL,
	attestation     TEXT    NOT NULL,
	transport       TEXT    NOT NULL,
	remote          TEXT    NOT NULL,
	body            TEXT    NOT NULL, -- checks and evidence, in JSON
	UNIQUE (instance, id_key, reason, source)
);
CREATE INDEX decisions_time ON decisions (instance, time, seq);
CREATE INDEX decisions_reason ON decisions (instance, reason, time, seq);
CREATE INDEX decisions_source ON decisions (instance, source, time, seq);
CREATE INDEX decisions_entry ON decisions (instance, entry_kind, entry_key, time, seq) WHERE entry_kind <> '';
CREATE INDEX decisions_tracking ON decisions (tracking_id);

-- How many registrations ended how. Spans are minutes or hours, in seconds since 1970.
CREATE TABLE registration_counts (
	instance TEXT    NOT NULL REFERENCES instances (id),
	width    INTEGER NOT NULL,
	start    BIGINT  NOT NULL,
	assigned BIGINT  NOT NULL,
	failed   BIGINT  NOT NULL,
	refused  BIGINT  NOT NULL,
	PRIMARY KEY (instance, width, start)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE registration_counts;
DROP TABLE decisions;
