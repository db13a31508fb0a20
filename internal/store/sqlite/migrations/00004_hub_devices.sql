-- +goose Up
ALTER TABLE hub_devices ADD COLUMN disabled       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hub_devices ADD COLUMN status_reason  TEXT    NOT NULL DEFAULT '';
ALTER TABLE hub_devices ADD COLUMN status_updated BIGINT  NOT NULL DEFAULT 0;  -- 0: never
ALTER TABLE hub_devices ADD COLUMN parent         TEXT    NOT NULL DEFAULT ''; -- scope of an edge device
ALTER TABLE hub_devices ADD COLUMN reported       TEXT;                        -- JSON
ALTER TABLE hub_devices ADD COLUMN twin_version   INTEGER NOT NULL DEFAULT 2;
ALTER TABLE hub_devices ADD COLUMN stamps         TEXT;                        -- JSON; NULL while the twin is as it was created

-- Few devices have any of these: the indexes cost the others nothing.
CREATE INDEX hub_devices_edge     ON hub_devices (instance, hub, device_id) WHERE iot_edge = 1;
CREATE INDEX hub_devices_disabled ON hub_devices (instance, hub) WHERE disabled = 1;
CREATE INDEX hub_devices_parent   ON hub_devices (instance, hub, parent, device_id) WHERE parent <> '';

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('hub_devices', 'hub_devices', '1000000 1000000 200000 1'),
	('hub_devices', 'hub_devices_edge', '10000 10000 2000 1'),
	('hub_devices', 'hub_devices_disabled', '10000 10000 2000'),
	('hub_devices', 'hub_devices_parent', '10000 10000 2000 100 1');

-- +goose Down
DROP INDEX hub_devices_parent;
DROP INDEX hub_devices_disabled;
DROP INDEX hub_devices_edge;
DELETE FROM sqlite_stat1 WHERE tbl = 'hub_devices';
ALTER TABLE hub_devices DROP COLUMN stamps;
ALTER TABLE hub_devices DROP COLUMN twin_version;
ALTER TABLE hub_devices DROP COLUMN reported;
ALTER TABLE hub_devices DROP COLUMN parent;
ALTER TABLE hub_devices DROP COLUMN status_updated;
ALTER TABLE hub_devices DROP COLUMN status_reason;
ALTER TABLE hub_devices DROP COLUMN disabled;
