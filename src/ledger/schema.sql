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
    late_instances INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state, last_received_at);
CREATE INDEX IF NOT EXISTS studies_by_time  ON studies (last_received_at DESC);
CREATE INDEX IF NOT EXISTS studies_by_state_since ON studies (state, state_since);

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

CREATE TABLE IF NOT EXISTS quarantine (
    id               INTEGER PRIMARY KEY,
    sop_instance_uid TEXT    NOT NULL,
    study_uid        TEXT    NOT NULL,
    path             TEXT    NOT NULL UNIQUE,  -- relative to the spool
    dataset_sha256   BLOB    NOT NULL,
    why              TEXT    NOT NULL,
    association_id   INTEGER,
    received_at      INTEGER NOT NULL
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
    rendered_at   INTEGER NOT NULL
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
