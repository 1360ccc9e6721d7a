-- The ledger's tables. Times are Unix milliseconds (UTC). The spool is the truth for what was received;
-- rows that are missing are rebuilt from it at start-up.

CREATE TABLE IF NOT EXISTS associations (
    id           INTEGER PRIMARY KEY,
    peer         TEXT    NOT NULL,             -- address:port
    calling_ae   TEXT    NOT NULL DEFAULT '',
    called_ae    TEXT    NOT NULL DEFAULT '',
    opened_at    INTEGER NOT NULL,
    closed_at    INTEGER,                      -- NULL while open; start-up closes leftovers as 'lost'
    outcome      TEXT,                         -- released | aborted_by_peer | aborted_by_us | rejected | lost
    why          TEXT    NOT NULL DEFAULT '',
    contexts_offered  INTEGER NOT NULL DEFAULT 0,
    contexts_accepted INTEGER NOT NULL DEFAULT 0,
    offered      INTEGER NOT NULL DEFAULT 0,   -- C-STORE requests seen
    stored       INTEGER NOT NULL DEFAULT 0,
    duplicates   INTEGER NOT NULL DEFAULT 0,   -- same UID, same bytes
    quarantined  INTEGER NOT NULL DEFAULT 0,   -- same UID, other bytes
    refused      INTEGER NOT NULL DEFAULT 0,
    bytes        INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS associations_open ON associations (id) WHERE closed_at IS NULL;

CREATE TABLE IF NOT EXISTS refusals (          -- objects that an association offered and that were not taken
    id               INTEGER PRIMARY KEY,
    association_id   INTEGER NOT NULL,
    sop_instance_uid TEXT    NOT NULL,         -- as the command named it, escaped and cut: it may be no UID at all
    status           INTEGER NOT NULL,         -- DIMSE status of the answer
    why              TEXT    NOT NULL,
    refused_at       INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS refusals_by_association ON refusals (association_id);

CREATE TABLE IF NOT EXISTS studies (
    study_uid      TEXT PRIMARY KEY,
    state          TEXT    NOT NULL,           -- see study_state.rs
    reason         TEXT    NOT NULL DEFAULT '',
    calling_ae     TEXT    NOT NULL DEFAULT '',
    first_received_at INTEGER NOT NULL,
    last_received_at  INTEGER NOT NULL,
    state_since    INTEGER NOT NULL,
    attempts       INTEGER NOT NULL DEFAULT 0, -- analyses begun; a study that kills the process is not tried for ever
    verdict        TEXT,
    probability    REAL,
    result_json    TEXT,                       -- what `fcdd studies show --json` prints of the analysis
    late_instances INTEGER NOT NULL DEFAULT 0,
    revision       INTEGER NOT NULL DEFAULT 0, -- of the last result; 0: there is none yet
    selection      TEXT,                       -- the volumes that the last result is about (JSON, study::Selection)
    content_digest TEXT,                       -- what the last result says, without its revision (report::content_digest)
    late_since     INTEGER,                    -- an MR image came that no analysis has looked at; the first one's time
    only_late      INTEGER NOT NULL DEFAULT 0, -- late images made it complete again: if they change nothing, the result stands
    files_removed_at INTEGER                   -- the files of its last result left the spool after delivery
);
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state, last_received_at);
CREATE INDEX IF NOT EXISTS studies_by_time  ON studies (last_received_at DESC);
CREATE INDEX IF NOT EXISTS studies_by_state_since ON studies (state, state_since);
CREATE INDEX IF NOT EXISTS studies_with_late_images ON studies (late_since) WHERE late_since IS NOT NULL;
CREATE INDEX IF NOT EXISTS studies_to_remove ON studies (last_received_at)
    WHERE state = 'delivered' AND (files_removed_at IS NULL OR last_received_at > files_removed_at);

CREATE TABLE IF NOT EXISTS instances (
    sop_instance_uid TEXT PRIMARY KEY,
    study_uid       TEXT    NOT NULL,
    series_uid      TEXT    NOT NULL,
    sop_class_uid   TEXT    NOT NULL,
    transfer_syntax TEXT    NOT NULL,
    path            TEXT    NOT NULL,          -- relative to the spool
    dataset_bytes   INTEGER NOT NULL,
    dataset_sha256  BLOB    NOT NULL,
    association_id  INTEGER,                   -- NULL when rebuilt from the spool
    received_at     INTEGER NOT NULL,
    late            INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS instances_by_study ON instances (study_uid);
CREATE INDEX IF NOT EXISTS instances_by_association ON instances (association_id) WHERE association_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS quarantine (
    id               INTEGER PRIMARY KEY,
    sop_instance_uid TEXT    NOT NULL,
    study_uid        TEXT    NOT NULL,
    path             TEXT    NOT NULL UNIQUE,  -- relative to the spool
    dataset_sha256   BLOB    NOT NULL,
    why              TEXT    NOT NULL,
    association_id   INTEGER,
    received_at      INTEGER NOT NULL,
    kind             TEXT    NOT NULL DEFAULT 'other' -- VariantKind::name: how it differs
);
CREATE INDEX IF NOT EXISTS quarantine_by_study ON quarantine (study_uid);

CREATE TABLE IF NOT EXISTS troubles (          -- what is wrong with the running daemon now; `fcdd status` tells
    task  TEXT PRIMARY KEY,
    text  TEXT    NOT NULL,
    since INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS series_verdicts (
    study_uid    TEXT NOT NULL,
    series_uid   TEXT NOT NULL,
    stack        INTEGER NOT NULL,
    sequence     TEXT NOT NULL,
    because      TEXT NOT NULL,
    verdict_json TEXT NOT NULL,
    chosen       INTEGER NOT NULL,
    PRIMARY KEY (study_uid, series_uid, stack)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS objects (
    sop_instance_uid TEXT PRIMARY KEY,
    study_uid     TEXT NOT NULL,
    series_uid    TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    kind          TEXT NOT NULL,               -- ObjectKind::name
    path          TEXT NOT NULL,               -- relative to the spool
    rendered_at   INTEGER NOT NULL,
    revision      INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_study ON objects (study_uid);

CREATE TABLE IF NOT EXISTS outbox (
    sop_instance_uid TEXT    NOT NULL REFERENCES objects (sop_instance_uid),
    destination      TEXT    NOT NULL,
    position         INTEGER NOT NULL,         -- order within the study
    status           TEXT    NOT NULL,         -- waiting | delivered | refused | held
    attempts         INTEGER NOT NULL DEFAULT 0,
    next_attempt_at  INTEGER NOT NULL,
    dimse_status     INTEGER,
    last_error       TEXT    NOT NULL DEFAULT '',
    delivered_at     INTEGER,
    PRIMARY KEY (sop_instance_uid, destination)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (destination, status, next_attempt_at, position);
-- What is not delivered is a small part of a table that grows for ever.
CREATE INDEX IF NOT EXISTS outbox_open ON outbox (destination, status) WHERE status <> 'delivered';
