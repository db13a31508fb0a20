-- +goose Up
-- Devices that have no hub now, across groups: few among many, the latest first.
CREATE INDEX registrations_status ON registrations (instance, status, updated, id_key) WHERE status <> 'assigned';

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('registrations', 'registrations_status', '10000 10000 2500 2 1');

-- +goose Down
DROP INDEX registrations_status;
