-- From version 1 to 2: revisions, refusals, retention. The tables and indexes that are new altogether come from schema.sql.

ALTER TABLE studies ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE studies ADD COLUMN selection TEXT;
ALTER TABLE studies ADD COLUMN content_digest TEXT;
ALTER TABLE studies ADD COLUMN late_since INTEGER;
ALTER TABLE studies ADD COLUMN only_late INTEGER NOT NULL DEFAULT 0;
ALTER TABLE studies ADD COLUMN files_removed_at INTEGER;
ALTER TABLE objects ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
ALTER TABLE quarantine ADD COLUMN kind TEXT NOT NULL DEFAULT 'other';
-- A result of version 1 is its study's first.
UPDATE studies SET revision = 1 WHERE result_json IS NOT NULL;
