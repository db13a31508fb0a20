-- +goose Up
-- Counts the changes of the certificates that may sign devices: uploaded CA certificates and
-- the certificates of groups. What a process remembers of them holds as long as the count is
-- the same.
CREATE TABLE signer_changes (
	instance TEXT   NOT NULL PRIMARY KEY REFERENCES instances (id),
	changes  BIGINT NOT NULL
) WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER signer_ca_inserted AFTER INSERT ON ca_certificates
BEGIN
	INSERT INTO signer_changes (instance, changes) VALUES (new.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER signer_ca_updated AFTER UPDATE ON ca_certificates
BEGIN
	INSERT INTO signer_changes (instance, changes) VALUES (new.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER signer_ca_deleted AFTER DELETE ON ca_certificates
BEGIN
	INSERT INTO signer_changes (instance, changes) VALUES (old.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER signer_reference_inserted AFTER INSERT ON ca_references WHEN new.kind = 'group'
BEGIN
	INSERT INTO signer_changes (instance, changes) VALUES (new.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER signer_reference_updated AFTER UPDATE ON ca_references WHEN new.kind = 'group'
BEGIN
	INSERT INTO signer_changes (instance, changes) VALUES (new.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER signer_reference_deleted AFTER DELETE ON ca_references WHEN old.kind = 'group'
BEGIN
	INSERT INTO signer_changes (instance, changes) VALUES (old.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER signer_certificate_inserted AFTER INSERT ON enrollment_certificates WHEN new.kind = 'group'
BEGIN
	INSERT INTO signer_changes (instance, changes) VALUES (new.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER signer_certificate_updated AFTER UPDATE ON enrollment_certificates WHEN new.kind = 'group'
BEGIN
	INSERT INTO signer_changes (instance, changes) VALUES (new.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER signer_certificate_deleted AFTER DELETE ON enrollment_certificates WHEN old.kind = 'group'
BEGIN
	INSERT INTO signer_changes (instance, changes) VALUES (old.instance, 1)
		ON CONFLICT (instance) DO UPDATE SET changes = changes + 1;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER signer_ca_inserted;
DROP TRIGGER signer_ca_updated;
DROP TRIGGER signer_ca_deleted;
DROP TRIGGER signer_reference_inserted;
DROP TRIGGER signer_reference_updated;
DROP TRIGGER signer_reference_deleted;
DROP TRIGGER signer_certificate_inserted;
DROP TRIGGER signer_certificate_updated;
DROP TRIGGER signer_certificate_deleted;
DROP TABLE signer_changes;
