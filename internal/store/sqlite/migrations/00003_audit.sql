-- +goose Up
-- One row for each management change. AUTOINCREMENT: no number is used twice, even
-- after the newest rows were removed.
CREATE TABLE audit (
	seq         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	instance    TEXT    NOT NULL REFERENCES instances (id),
	time        BIGINT  NOT NULL,
	principal   TEXT    NOT NULL,
	operation   TEXT    NOT NULL,
	kind        TEXT    NOT NULL,
	id_key      TEXT    NOT NULL, -- '' where several records were changed
	id          TEXT    NOT NULL,
	old_etag    TEXT    NOT NULL,
	new_etag    TEXT    NOT NULL,
	result      TEXT    NOT NULL, -- ok, or the name of a code
	several     INTEGER NOT NULL,
	succeeded   INTEGER NOT NULL,
	failed      INTEGER NOT NULL,
	tracking_id TEXT    NOT NULL,
	remote      TEXT    NOT NULL
);
CREATE INDEX audit_time ON audit (instance, time, seq);
CREATE INDEX audit_record ON audit (instance, id_key, time, seq);

-- +goose Down
DROP TABLE audit;
