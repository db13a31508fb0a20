-- +goose Up
-- Counts the changes of enrollment groups: what a process remembers of their keys holds as
-- long as the count is the same.
CREATE TABLE group_changes (
	instance TEXT   NOT NULL PRIMARY KEY REFERENCES instances (id),
	changes  BIGINT NOT NULL
) WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER group_inserted AFTER INSERT ON enrollments WHEN new.kind = 'group'
BEGIN
	INSERT INTO group_changes (instance, changes) VALUES (new.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER group_updated AFTER UPDATE ON enrollments WHEN new.kind = 'group'
BEGIN
	INSERT INTO group_changes (instance, changes) VALUES (new.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER group_deleted AFTER DELETE ON enrollments WHEN old.kind = 'group'
BEGIN
	INSERT INTO group_changes (instance, changes) VALUES (old.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER group_inserted;
DROP TRIGGER group_updated;
DROP TRIGGER group_deleted;
DROP TABLE group_changes;
