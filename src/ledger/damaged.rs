//! A ledger that SQLite cannot make sense of is set aside, loudly, and a new one is rebuilt from the spool.
//!
//! What the spool cannot tell is lost with it: which deliveries were made (they are made again, under the same UIDs),
//! receipts, and the memory of studies that left the spool. The damaged file stays for whoever wants to save more.

use std::path::{Path, PathBuf};

use super::{Doing, Ledger, LedgerError, now_ms};

/// SQLite's result codes for a damaged file: SQLITE_CORRUPT, SQLITE_NOTADB.
const CODES_OF_DAMAGE: [i64; 2] = [11, 26];

/// A ledger that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAsideLedger {
    /// Where the damaged file is now.
    pub path: PathBuf,
    /// What SQLite says of it.
    pub why: String,
}

impl Ledger {
    /// Opens the ledger for the daemon; a damaged one is set aside first and a new one begun.
    pub async fn open_or_begin_anew(path: &Path) -> Result<(Ledger, Option<SetAsideLedger>), LedgerError> {
        let why = match Ledger::open(path).await {
            Ok(ledger) => match ledger.complaint().await {
                Ok(None) => return Ok((ledger, None)),
                Ok(Some(complaint)) => {
                    ledger.close().await;
                    complaint
                }
                Err(error) if error.is_damage() => {
                    ledger.close().await;
                    error.to_string()
                }
                Err(error) => return Err(error),
            },
            Err(error) if error.is_damage() => error.to_string(),
            Err(error) => return Err(error),
        };
        let aside = set_aside(path).map_err(|source| LedgerError::SetAside { path: path.to_owned(), source })?;
        Ok((Ledger::open(path).await?, Some(SetAsideLedger { path: aside, why })))
    }

    /// What SQLite's quick check finds wrong.
    async fn complaint(&self) -> Result<Option<String>, LedgerError> {
        let answer: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&self.writer).await.doing("check its file")?;
        Ok((answer != "ok").then_some(answer))
    }
}

impl LedgerError {
    fn is_damage(&self) -> bool {
        let source = match self {
            LedgerError::Open { source, .. } => source,
            LedgerError::Query { source, .. } => source.as_ref(),
            _ => return false,
        };
        let code = source.as_database_error().and_then(|error| error.code());
        // Extended codes keep the plain one in their lowest byte.
        code.and_then(|code| code.parse::<i64>().ok()).is_some_and(|code| CODES_OF_DAMAGE.contains(&(code & 0xFF)))
    }
}

/// Renames the ledger; its log belongs to it and goes with it.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = path.with_extension(format!("damaged-{}.sqlite", now_ms()));
    std::fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        let with_suffix = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        match std::fs::rename(with_suffix(path), with_suffix(&aside)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reopened(damage: impl FnOnce(&mut Vec<u8>)) -> Option<SetAsideLedger> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        let ledger = Ledger::open(&path).await.unwrap();
        let filler = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                      INSERT INTO studies (study_uid, state, first_received_at, last_received_at, state_since)
                      SELECT '1.2.' || i, 'delivered', i, i, i FROM n";
        sqlx::raw_sql(filler).execute(&ledger.writer).await.unwrap();
        ledger.close().await;
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let (ledger, aside) = Ledger::open_or_begin_anew(&path).await.unwrap();
        let studies = ledger.list_studies(5000, None).await.unwrap().len();
        assert_eq!(studies, if aside.is_some() { 0 } else { 2000 });
        assert!(aside.as_ref().is_none_or(|aside| aside.path.exists()));
        aside
    }

    #[tokio::test]
    async fn a_damaged_ledger_is_set_aside_and_a_sound_one_is_not() {
        assert_eq!(reopened(|_| {}).await, None);
        assert!(reopened(|bytes| bytes[..100].fill(b'x')).await.is_some(), "no ledger at all");
        let in_the_middle = reopened(|bytes| {
            let middle = bytes.len() / 2 / 4096 * 4096;
            bytes[middle..middle + 4096].fill(0xA5);
        });
        assert!(in_the_middle.await.is_some());
        assert!(reopened(|bytes| bytes.truncate(bytes.len() / 2)).await.is_some());
    }
}
