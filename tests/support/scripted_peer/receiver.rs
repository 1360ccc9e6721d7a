//! The receiver under test: a listener on loopback with a spool and a ledger of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fcdd::ledger::Ledger;
use fcdd::ledger::associations::AssociationRow;
use fcdd::receive::{Intake, Listener};
use fcdd::spool::room::{RoomWatch, Steps};
use fcdd::spool::{Commit, RenameCommit, Spool};
use fcdd::study::InFlight;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;

/// How long objects under way may take after a stop: ample for one on a busy machine with a slow disk.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until it is stopped or dropped.
pub struct Receiver {
    pub address: SocketAddr,
    pub ledger: Ledger,
    pub spool: Spool,
    pub in_flight: InFlight,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
    directory: TempDir,
}

impl Receiver {
    /// A receiver called FCDD; `rest` are further lines of `[receive]`.
    pub async fn start(rest: &str) -> Receiver {
        Receiver::start_with(rest, 0, Box::new(RenameCommit)).await
    }

    pub async fn start_with(rest: &str, min_free_mib: u64, commit: Box<dyn Commit>) -> Receiver {
        let directory = tempfile::tempdir().expect("the temporary directory is writable");
        let spool = Spool::open_with(directory.path(), commit).expect("the spool can be made");
        let ledger = Ledger::open(&spool.ledger_path()).await.expect("the ledger can be made");
        let in_flight = InFlight::new();
        let text = format!("ae_title = \"FCDD\"\nlisten = \"127.0.0.1:0\"\n{rest}");
        let config = toml::from_str(&text).expect("the scenario's configuration is right");
        let steps = Steps { warn_mib: min_free_mib, min_mib: min_free_mib, reserve_mib: min_free_mib };
        let room = Arc::new(RoomWatch::new(spool.clone(), steps));
        let intake = Intake { spool: spool.clone(), ledger: ledger.clone(), in_flight: in_flight.clone(), room };
        let listener = Listener::bind(&config, intake).await.expect("a free port");
        let address = listener.local_addr();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(listener.run(shutdown.clone(), DRAIN));
        Receiver { address, ledger, spool, in_flight, shutdown, task, directory }
    }

    /// Waits until this many associations have their receipt; newest first.
    pub async fn receipts(&self, count: usize) -> Vec<AssociationRow> {
        let closed = async {
            loop {
                let rows = self.ledger.list_associations(1000).await.expect("the ledger can be read");
                if rows.len() >= count && rows.iter().all(|row| row.closed_at.is_some()) {
                    return rows;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("the receipts are written within the deadline")
    }

    /// The receipt of the only association.
    pub async fn receipt(&self) -> AssociationRow {
        self.receipts(1).await.remove(0)
    }

    /// Waits until something is being written.
    pub async fn wait_for_incoming(&self) {
        let written = async {
            while self.files("incoming").is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.expect("a temporary file appears within the deadline");
    }

    /// Files below a directory of the spool, sorted.
    pub fn files(&self, directory: &str) -> Vec<PathBuf> {
        crate::support::files_below(&self.path(directory))
    }

    /// A path below the spool.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// The spool's directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}
