//! The receipt of each association: who called, what came of it, and why it ended.

use std::net::SocketAddr;

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::studies::timestamp;
use super::{Doing, Ledger, LedgerError, now_ms};

/// How an association ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A-RELEASE, as it should be.
    Released,
    /// The peer aborted, or closed the connection without a word.
    AbortedByPeer,
    /// We aborted: a violation, a limit, or a stop.
    AbortedByUs,
    /// The association was never established.
    Rejected,
    /// The process ended while it was open; start-up says so.
    Lost,
}

impl Outcome {
    /// The name in the ledger and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Released => "released",
            Outcome::AbortedByPeer => "aborted_by_peer",
            Outcome::AbortedByUs => "aborted_by_us",
            Outcome::Rejected => "rejected",
            Outcome::Lost => "lost",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known when an association begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// Calling AE title; empty where no A-ASSOCIATE-RQ was read.
    pub calling_ae: String,
    /// Called AE title.
    pub called_ae: String,
    /// Presentation contexts that the peer proposed.
    pub contexts_offered: usize,
    /// Presentation contexts that were accepted.
    pub contexts_accepted: usize,
}

/// What came of an association.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// C-STORE requests seen.
    pub offered: u64,
    /// Objects that are safe on disk and new.
    pub stored: u64,
    /// Objects that were there already, byte for byte.
    pub duplicates: u64,
    /// Objects whose UID was there with other bytes.
    pub quarantined: u64,
    /// Objects that were answered with a failure.
    pub refused: u64,
    /// Dataset bytes that were received.
    pub bytes: u64,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AssociationRow {
    /// Row id.
    pub id: i64,
    /// `address:port` of the peer.
    pub peer: String,
    /// Calling AE title.
    pub calling_ae: String,
    /// Called AE title.
    pub called_ae: String,
    /// When it began.
    pub opened_at: Timestamp,
    /// When it ended; `None` while it is open.
    pub closed_at: Option<Timestamp>,
    /// [`Outcome::name`]; `None` while it is open.
    pub outcome: Option<String>,
    /// One sentence.
    pub why: String,
    /// Presentation contexts proposed.
    pub contexts_offered: i64,
    /// Presentation contexts accepted.
    pub contexts_accepted: i64,
    /// C-STORE requests seen.
    pub offered: i64,
    /// New objects.
    pub stored: i64,
    /// Same UID, same bytes.
    pub duplicates: i64,
    /// Same UID, other bytes.
    pub quarantined: i64,
    /// Answered with a failure.
    pub refused: i64,
    /// Dataset bytes.
    pub bytes: i64,
}

impl Ledger {
    /// Writes the row of an association that begins; gives its id.
    pub async fn open_association(&self, opening: &Opening) -> Result<i64, LedgerError> {
        sqlx::query_scalar(
            "INSERT INTO associations (peer, calling_ae, called_ae, opened_at, contexts_offered, contexts_accepted)
             VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        )
        .bind(opening.peer.to_string())
        .bind(&opening.calling_ae)
        .bind(&opening.called_ae)
        .bind(now_ms())
        .bind(as_i64(opening.contexts_offered as u64))
        .bind(as_i64(opening.contexts_accepted as u64))
        .fetch_one(&self.writer)
        .await
        .doing("open an association's row")
    }

    /// Completes the row: the receipt.
    pub async fn close_association(
        &self,
        id: i64,
        outcome: Outcome,
        why: &str,
        counts: &Counts,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE associations SET closed_at = ?, outcome = ?, why = ?, offered = ?, stored = ?, duplicates = ?,
             quarantined = ?, refused = ?, bytes = ? WHERE id = ?",
        )
        .bind(now_ms())
        .bind(outcome.name())
        .bind(why)
        .bind(as_i64(counts.offered))
        .bind(as_i64(counts.stored))
        .bind(as_i64(counts.duplicates))
        .bind(as_i64(counts.quarantined))
        .bind(as_i64(counts.refused))
        .bind(as_i64(counts.bytes))
        .bind(id)
        .execute(&self.writer)
        .await
        .doing("write an association's receipt")?;
        Ok(())
    }

    /// At start-up: closes what an earlier process left open. Gives how many there were.
    pub async fn close_leftover_associations(&self) -> Result<u64, LedgerError> {
        let why = "fcdd ended while this association was open; what was answered with success is safe";
        let closed = sqlx::query(
            "UPDATE associations SET closed_at = ?, outcome = ?, why = ?,
             stored = (SELECT count(*) FROM instances WHERE association_id = associations.id),
             quarantined = (SELECT count(*) FROM quarantine WHERE association_id = associations.id),
             refused = (SELECT count(*) FROM refusals WHERE association_id = associations.id)
             WHERE closed_at IS NULL",
        )
        .bind(now_ms())
        .bind(Outcome::Lost.name())
        .bind(why)
        .execute(&self.writer)
        .await
        .doing("close leftover associations")?;
        Ok(closed.rows_affected())
    }

    /// The latest associations, newest first.
    pub async fn list_associations(&self, limit: u32) -> Result<Vec<AssociationRow>, LedgerError> {
        self.list_associations_with(limit, false).await
    }

    /// The latest associations, or the latest with problems: rejected, aborted, lost, or with objects that were refused
    /// or quarantined. Newest first.
    pub async fn list_associations_with(
        &self,
        limit: u32,
        only_problems: bool,
    ) -> Result<Vec<AssociationRow>, LedgerError> {
        let rows = sqlx::query(
            "SELECT * FROM associations
             WHERE NOT ?2 OR refused > 0 OR quarantined > 0 OR (closed_at IS NOT NULL AND outcome <> 'released')
             ORDER BY id DESC LIMIT ?1",
        )
        .bind(limit)
        .bind(only_problems)
        .fetch_all(&self.readers)
        .await
        .doing("list associations")?;
        rows.iter().map(association_row).collect::<Result<_, _>>().doing("read an association's row")
    }

    /// One association.
    pub async fn association(&self, id: i64) -> Result<Option<AssociationRow>, LedgerError> {
        let row = sqlx::query("SELECT * FROM associations WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .doing("read an association's row")?;
        row.as_ref().map(association_row).transpose().doing("read an association's row")
    }
}

fn association_row(row: &SqliteRow) -> Result<AssociationRow, sqlx::Error> {
    Ok(AssociationRow {
        id: row.try_get("id")?,
        peer: row.try_get("peer")?,
        calling_ae: row.try_get("calling_ae")?,
        called_ae: row.try_get("called_ae")?,
        opened_at: timestamp(row.try_get("opened_at")?)?,
        closed_at: row.try_get::<Option<i64>, _>("closed_at")?.map(timestamp).transpose()?,
        outcome: row.try_get("outcome")?,
        why: row.try_get("why")?,
        contexts_offered: row.try_get("contexts_offered")?,
        contexts_accepted: row.try_get("contexts_accepted")?,
        offered: row.try_get("offered")?,
        stored: row.try_get("stored")?,
        duplicates: row.try_get("duplicates")?,
        quarantined: row.try_get("quarantined")?,
        refused: row.try_get("refused")?,
        bytes: row.try_get("bytes")?,
    })
}

/// SQLite's integers are signed.
fn as_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn receipts_are_written_and_leftovers_are_lost() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).await.unwrap();
        let opening = Opening {
            peer: "127.0.0.1:5000".parse().unwrap(),
            calling_ae: "MR1".into(),
            called_ae: "FCDD".into(),
            contexts_offered: 3,
            contexts_accepted: 2,
        };
        let first = ledger.open_association(&opening).await.unwrap();
        let counts = Counts { offered: 2, stored: 1, refused: 1, bytes: 10, ..Counts::default() };
        ledger.close_association(first, Outcome::Released, "released by the sender", &counts).await.unwrap();
        ledger.open_association(&opening).await.unwrap();
        assert_eq!(ledger.close_leftover_associations().await.unwrap(), 1);
        let rows = ledger.list_associations(10).await.unwrap();
        assert_eq!(rows[0].outcome.as_deref(), Some("lost"));
        assert_eq!(rows[1].outcome.as_deref(), Some("released"));
        assert_eq!((rows[1].offered, rows[1].stored, rows[1].refused, rows[1].bytes), (2, 1, 1, 10));
    }
}
