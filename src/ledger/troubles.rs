//! What is wrong with the running daemon now, for whoever asks how it stands: a row per task, gone when it works again.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::studies::timestamp;
use super::{Doing, Ledger, LedgerError, now_ms};

/// A task that cannot do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The task.
    pub task: String,
    /// Why it cannot, in words.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
}

impl Ledger {
    /// A task cannot do its work; said again, its words change and the time stays.
    pub async fn enter_trouble(&self, task: &str, text: &str) -> Result<(), LedgerError> {
        sqlx::query(
            "INSERT INTO troubles (task, text, since) VALUES (?1, ?2, ?3)
             ON CONFLICT (task) DO UPDATE SET text = excluded.text",
        )
        .bind(task)
        .bind(text)
        .bind(now_ms())
        .execute(&self.writer)
        .await
        .doing("note a trouble")?;
        Ok(())
    }

    /// The task works again.
    pub async fn end_trouble(&self, task: &str) -> Result<(), LedgerError> {
        sqlx::query("DELETE FROM troubles WHERE task = ?1")
            .bind(task)
            .execute(&self.writer)
            .await
            .doing("end a trouble")?;
        Ok(())
    }

    /// At start-up: what the last run was troubled by is not this run's.
    pub async fn forget_troubles(&self) -> Result<(), LedgerError> {
        sqlx::query("DELETE FROM troubles").execute(&self.writer).await.doing("forget troubles")?;
        Ok(())
    }

    /// All of them, the oldest first.
    pub async fn troubles(&self) -> Result<Vec<Trouble>, LedgerError> {
        sqlx::query("SELECT task, text, since FROM troubles ORDER BY since, task")
            .try_map(|row: SqliteRow| {
                Ok(Trouble {
                    task: row.try_get("task")?,
                    text: row.try_get("text")?,
                    since: timestamp(row.try_get("since")?)?,
                })
            })
            .fetch_all(&self.readers)
            .await
            .doing("list troubles")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trouble_has_one_row_and_ends() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).await.unwrap();
        ledger.enter_trouble("models", "no such file").await.unwrap();
        let since = ledger.troubles().await.unwrap()[0].since;
        ledger.enter_trouble("models", "damaged").await.unwrap();
        let troubles = ledger.troubles().await.unwrap();
        assert_eq!((troubles.len(), troubles[0].text.as_str(), troubles[0].since), (1, "damaged", since));
        ledger.end_trouble("models").await.unwrap();
        assert!(ledger.troubles().await.unwrap().is_empty());
    }
}
