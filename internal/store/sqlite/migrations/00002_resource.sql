-- +goose Up
ALTER TABLE instances ADD COLUMN tags TEXT NOT NULL DEFAULT '{}'; -- JSON: names to values
-- Instances that had no version begin with this one.
ALTER TABLE instances ADD COLUMN etag TEXT NOT NULL DEFAULT 'IjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMSI=';

-- +goose Down
ALTER TABLE instances DROP COLUMN etag;
ALTER TABLE instances DROP COLUMN tags;
