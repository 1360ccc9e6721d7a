//! Another process holds the ledger's lock for longer than anybody waits: what cannot be recorded is refused, a study
//! under analysis is neither lost nor stuck nor failed, and when the lock is gone everything goes on.

use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::support::{self, Configuration, Daemon, files_below, require_onnxruntime, storescu, wait_until};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn everything_goes_on_when_the_lock_is_gone() {
    let Some(_) = require_onnxruntime() else { return };
    let daemon = Daemon::start(Configuration::new());
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let first_uid = support::phantom_study(18, &first);
    let second_uid = support::phantom_study(19, &second);
    let Some(sent) = storescu(&[&first], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    wait_until("the analysis begins", PATIENCE, || daemon.study(&first_uid).filter(|s| s["state"] == "analyzing"));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ledger = daemon.spool().join("ledger.sqlite");
    let lock = runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(&ledger).connect().await.unwrap();
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await.unwrap();
        connection
    });
    let files = files_below(&second);
    // Refused, or not even associated: in no case acknowledged.
    let Some(sent) = storescu(&[&files[0]], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(!sent.log.contains("Received Store Response (Success)"), "{}", sent.log);
    wait_until("the analysis meets the lock", PATIENCE, || daemon.log().contains("task=\"analysis\"").then_some(()));
    drop(lock);

    let study = daemon.wait_for_state(&first_uid, "delivered", PATIENCE);
    assert_eq!(study["revision"], 1, "{study}");
    let Some(sent) = storescu(&[&second], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    daemon.wait_for_state(&second_uid, "delivered", PATIENCE);
}
