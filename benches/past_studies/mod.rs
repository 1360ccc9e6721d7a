//! A ledger as it stands after a million studies, a hundred a day for 27 years, with a busy hour on top. Bulk SQL into
//! the tables that the ledger itself has made: its own code would take hours.
//!
//! | studies | state | of each |
//! |---|---|---|
//! | the rest | delivered, their files have left the spool | a result of 3 KB, 4 series verdicts, the report and its delivery |
//! | 1 % | failed long ago | the same |
//! | 3,000 (30 days) | delivered, their files are there | 400 objects received, 400 results and their deliveries |
//! | 1,000 | delivered but for one object that was refused for good, old | 10 results and their deliveries |
//! | 200 | not for analysis, 2 days | 100 objects received |
//! | 300 | reported: a destination is down | 400 results, all waiting |
//! | 40 | 20 being received, 20 complete | 400 objects received |
//!
//! Each has an association, with its receipt. UIDs are as long as a scanner's and in no order.

use std::path::Path;

use fcdd::ledger::Ledger;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

/// A destination that is down and has a backlog.
pub const BUSY: &str = "pacs-that-is-down";
/// A destination that has everything.
pub const QUIET: &str = "pacs";

/// A group of studies of one kind.
struct Group {
    /// A table of the numbers of its studies: from (inclusive) to (exclusive); a higher number is a newer study.
    from: usize,
    to: usize,
    state: &'static str,
    received: u32,
    results: u32,
    /// Of its deliveries; the destination follows from it.
    delivery: &'static str,
    files_removed: bool,
}

/// Makes the ledger at `path`.
pub async fn write(path: &Path, studies: usize) {
    Ledger::open(path).await.expect("the ledger can be made").close().await;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", "-2000000")
        .pragma("temp_store", "MEMORY");
    let mut connection = SqliteConnection::connect_with(&options).await.expect("the ledger opens");
    for group in groups(studies) {
        write_group(&mut connection, &group, studies).await;
    }
    run(&mut connection, "PRAGMA journal_mode = WAL").await;
    connection.close().await.expect("the ledger closes");
    rustix::fs::sync();
}

fn groups(studies: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut from = 0;
    let mut add = |number: usize, state, received, results, delivery, files_removed| {
        groups.push(Group { from, to: from + number, state, received, results, delivery, files_removed });
        from += number;
    };
    let special = 1000 + 3000 + 200 + 300 + 40 + studies / 100;
    add(1000, "delivered", 0, 10, "refused", false);
    add(studies / 100, "failed", 0, 1, "delivered", false);
    add(studies.saturating_sub(special), "delivered", 0, 1, "delivered", true);
    add(3000, "delivered", 400, 400, "delivered", false);
    add(200, "not_for_analysis", 100, 0, "", false);
    add(300, "reported", 400, 400, "waiting", false);
    add(20, "complete", 400, 0, "", false);
    add(20, "receiving", 400, 0, "", false);
    groups
}

/// The UID of the study whose number is in `n.i`: a bijection that scatters them.
const STUDY_UID: &str =
    "printf('1.3.12.2.1107.5.2.43.%05d.%020d', (n.i * 7919) % 65536, (n.i * 2654435761) % 4294967296)";

/// Seconds from one study to the next: a hundred a day.
const EVERY_S: usize = 864;

async fn write_group(connection: &mut SqliteConnection, group: &Group, studies: usize) {
    let Group { from, to, state, received, results, delivery, .. } = *group;
    if from >= to {
        return;
    }
    let result = "'{\"format\":1,\"verdict\":\"not_suspected\",\"series\":\"' || hex(zeroblob(1450)) || '\"}'";
    let has_result = results > 0;
    let (result, revision, verdict) = if has_result { (result, 1, "'not_suspected'") } else { ("NULL", 0, "NULL") };
    let removed = if group.files_removed { "at + 2600000000" } else { "NULL" };
    let destination = if delivery == "waiting" { BUSY } else { QUIET };
    let numbers = format!(
        "n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {to}),
         s (i, uid, at) AS (SELECT n.i, {STUDY_UID}, (unixepoch() - ({studies} - n.i) * {EVERY_S}) * 1000 FROM n)"
    );
    let upto = |count: u32| format!("k (j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM k WHERE j + 1 < {count})");
    run(
        connection,
        &format!(
            "WITH RECURSIVE {numbers}
             INSERT INTO studies (study_uid, state, calling_ae, first_received_at, last_received_at, state_since, attempts,
                 verdict, probability, result_json, revision, selection, content_digest, files_removed_at)
             SELECT uid, '{state}', 'MR1', at - 600000, at, at, 1, {verdict}, 0.1, {result}, {revision},
                 hex(zeroblob(200)), hex(zeroblob(32)), {removed} FROM s"
        ),
    )
    .await;
    run(
        connection,
        &format!(
            "WITH RECURSIVE {numbers}
             INSERT INTO associations (peer, calling_ae, called_ae, opened_at, closed_at, outcome, why, contexts_offered,
                 contexts_accepted, offered, stored, bytes)
             SELECT '192.0.2.17:49152', 'MR1', 'FCDD', at, at, 'released', 'released by the peer', 3, 3, 400, 400, 52800000
             FROM s"
        ),
    )
    .await;
    if received > 0 {
        run(
            connection,
            &format!(
                "WITH RECURSIVE {numbers}, {}
                 INSERT INTO instances (sop_instance_uid, study_uid, series_uid, sop_class_uid, transfer_syntax, path,
                     dataset_bytes, dataset_sha256, association_id, received_at)
                 SELECT s.uid || '.1.' || k.j AS sop, s.uid, s.uid || '.' || (k.j % 2), '1.2.840.10008.5.1.4.1.1.4',
                     '1.2.840.10008.1.2.1', 'studies/' || s.uid || '/' || s.uid || '.1.' || k.j || '.dcm', 132000,
                     zeroblob(32), s.i + 1, s.at FROM s, k ORDER BY sop",
                upto(received)
            ),
        )
        .await;
    }
    if has_result {
        run(
            connection,
            &format!(
                "WITH RECURSIVE {numbers}, {}
                 INSERT INTO series_verdicts
                 SELECT s.uid, s.uid || '.' || k.j AS series, 0, iif(k.j < 2, 'T1', 'other'),
                     'TR 2300 ms, TE 2.98 ms, TI 900 ms and the description t1_mprage', '{{\"verdict\":\"ok\"}}', k.j = 0
                 FROM s, k ORDER BY s.uid, series",
                upto(4)
            ),
        )
        .await;
        run(
            connection,
            &format!(
                "WITH RECURSIVE {numbers}, {}
                 INSERT INTO objects
                 SELECT s.uid || '.9.' || k.j AS sop, s.uid, s.uid || '.9', '1.2.840.10008.5.1.4.1.1.88.34',
                     iif(k.j = 0, 'report', 'heatmap-t1'), 'results/' || s.uid || '/' || s.uid || '.9.' || k.j || '.dcm',
                     s.at, 1
                 FROM s, k ORDER BY sop",
                upto(results)
            ),
        )
        .await;
        run(
            connection,
            &format!(
                "WITH RECURSIVE {numbers}, {}
                 INSERT INTO outbox (sop_instance_uid, destination, position, status, attempts, next_attempt_at,
                     dimse_status, last_error, delivered_at)
                 SELECT s.uid || '.9.' || k.j AS sop, '{destination}', k.j,
                     iif('{delivery}' = 'refused' AND k.j > 0, 'delivered', '{delivery}'), 1, s.at, 0, '', s.at
                 FROM s, k ORDER BY sop",
                upto(results)
            ),
        )
        .await;
    }
}

async fn run(connection: &mut SqliteConnection, statement: &str) {
    let ran = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(connection).await;
    ran.unwrap_or_else(|error| panic!("{error}\n{statement}"));
}
