-- +goose Up
-- Hubs that are no longer linked: records of devices still name them.
CREATE TABLE former_hubs (
	instance  TEXT NOT NULL REFERENCES instances (id),
	id        TEXT NOT NULL,
	kind      TEXT NOT NULL,
	host_name TEXT NOT NULL,
	PRIMARY KEY (instance, id)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE former_hubs;
