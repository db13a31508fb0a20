-- +goose Up
-- The latest operation of a device may have been decided by another enrollment than the
-- one that assigned it, which entry_kind and entry_id name: '' where both are the same.
ALTER TABLE registrations ADD COLUMN latest_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE registrations ADD COLUMN latest_id   TEXT NOT NULL DEFAULT '';

-- Another device has the identity that the record names: its registration ID.
ALTER TABLE registrations ADD COLUMN taken_by TEXT NOT NULL DEFAULT '';

-- Until now two records could name one identity: the latest one has it.
UPDATE registrations AS r SET taken_by = (SELECT o.id FROM registrations o WHERE o.instance = r.instance AND o.id_key = lower(r.device_id))
	WHERE r.device_id <> r.id AND r.hub <> '' AND EXISTS (SELECT 1 FROM registrations o WHERE o.instance = r.instance
		AND o.id_key = lower(r.device_id) AND o.id_key <> r.id_key AND o.hub = r.hub AND o.device_id = r.device_id
		AND (o.updated, o.id_key) > (r.updated, r.id_key));
UPDATE registrations AS r SET taken_by = (SELECT o.id FROM registrations o WHERE o.instance = r.instance AND o.hub = r.hub
		AND o.device_id = r.device_id AND o.device_id <> o.id AND o.hub <> '' AND o.id_key <> r.id_key
		ORDER BY o.updated DESC, o.id_key DESC LIMIT 1)
	WHERE r.taken_by = '' AND r.hub <> '' AND EXISTS (SELECT 1 FROM registrations o WHERE o.instance = r.instance AND o.hub = r.hub
		AND o.device_id = r.device_id AND o.device_id <> o.id AND o.hub <> '' AND o.id_key <> r.id_key
		AND (o.updated, o.id_key) > (r.updated, r.id_key));

-- Identities that the service created and no record names any more: the next device may
-- have them. One that is neither here nor in a record was created by an operator.
CREATE TABLE released (
	instance  TEXT NOT NULL REFERENCES instances (id),
	hub       TEXT NOT NULL, -- may be unlinked
	device_id TEXT NOT NULL,
	PRIMARY KEY (instance, hub, device_id)
) WITHOUT ROWID;

-- Which individual enrollments ask for a device ID of their own.
CREATE INDEX enrollments_device ON enrollments (instance, body ->> 'deviceId') WHERE body ->> 'deviceId' IS NOT NULL;

ALTER TABLE audit ADD COLUMN detail TEXT NOT NULL DEFAULT ''; -- a sentence, '' for most

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('enrollments', 'enrollments_device', '10000 10000 1'),
	('released', 'released', '10000 10000 1000 1');

-- +goose Down
ALTER TABLE audit DROP COLUMN detail;
DROP INDEX enrollments_device;
DROP TABLE released;
ALTER TABLE registrations DROP COLUMN taken_by;
ALTER TABLE registrations DROP COLUMN latest_id;
ALTER TABLE registrations DROP COLUMN latest_kind;
