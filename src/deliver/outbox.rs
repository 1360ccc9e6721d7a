//! The outbox at work: one task per destination that sends what is due and sleeps until something is.
//!
//! Waits, `w(n) = retry_s · 2ⁿ⁻¹`, at most `max_retry_s`, a little uneven so that destinations drift apart:
//!
//! - The destination cannot be worked with (n-th failure in a row): the study's deliveries wait `w(n)`, and the
//!   task as a whole half of it, at most a minute, so that other studies find out soon when it is back. When it
//!   is, everything that was postponed follows at once.
//! - One object is refused for now, or the association breaks while it is under way (its n-th attempt): that
//!   object waits `w(n)`. The task waits at most half of that, so an object that a peer can never take does not
//!   keep the others from it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::association::{Association, AssociationError, Call};
use super::dicom_file::{DicomFile, FileError};
use super::scu::{self, StoreOutcome};
use crate::config::Destination;
use crate::dicom::dimse::Status;
use crate::dicom::{AeTitle, InvalidPeer, Peer, Uid};
use crate::ledger::outbox::DueObject;
use crate::ledger::{Ledger, LedgerError, StudyState};
use crate::observe::events::deliver::{
    AssociationDone, DeliveryPanicked, DestinationBack, DestinationInTrouble, LedgerTrouble, ObjectDeferred,
    ObjectDelivered, ObjectRefused, StudyDelivered, UnknownDestination,
};

/// Objects that one association carries at most.
pub const MAX_OBJECTS_PER_ASSOCIATION: u32 = 10_000;

/// A peer that refuses this many objects in a row for now is left alone for a while.
pub const MAX_PASSING_IN_A_ROW: u32 = 3;

/// Longest time for which new studies do not find out that a destination is back.
pub const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Longest sleep without a look at the ledger: the wall clock may be set while we sleep.
const MAX_SLEEP: Duration = Duration::from_secs(600);

/// A destination that cannot be called as configured.
#[derive(Debug, thiserror::Error)]
#[error("destination {destination}: {source}")]
pub struct InvalidDestination {
    /// Its name.
    pub destination: String,
    /// What is wrong.
    pub source: InvalidPeer,
}

/// Delivery to every configured destination.
#[derive(Debug)]
pub struct Deliveries {
    workers: Vec<Worker>,
    ledger: Ledger,
    wake: Arc<Notify>,
}

impl Deliveries {
    /// Prepares delivery. `spool` is the root that the ledger's paths are relative to. `wake` says that the
    /// outbox may have changed (a study was reported, an operator retried one): call its `notify_one`, which is
    /// remembered when it comes while everybody is busy.
    pub fn new(
        destinations: &BTreeMap<String, Destination>,
        our_ae_title: &AeTitle,
        ledger: Ledger,
        spool: &Path,
        wake: Arc<Notify>,
    ) -> Result<Deliveries, InvalidDestination> {
        let worker = |(name, destination): (&String, &Destination)| {
            let parse = |title: &str| {
                AeTitle::parse(title).map_err(|source| InvalidDestination { destination: name.clone(), source })
            };
            let calling = destination.calling_ae_title.as_deref().map(parse).transpose()?;
            Ok(Worker {
                name: name.clone(),
                call: Call {
                    calling: calling.unwrap_or_else(|| our_ae_title.clone()),
                    peer: Peer {
                        ae_title: parse(&destination.ae_title)?,
                        host: destination.host.clone(),
                        port: destination.port,
                    },
                    timeout: Duration::from_secs(destination.timeout_s.max(1)),
                },
                retry_s: destination.retry_s,
                max_retry_s: destination.max_retry_s,
                ledger: ledger.clone(),
                spool: spool.to_owned(),
                wake: Arc::new(Notify::new()),
                failures: 0,
                paused_until: None,
            })
        };
        let workers = destinations.iter().map(worker).collect::<Result<_, _>>()?;
        Ok(Deliveries { workers, ledger, wake })
    }

    /// Delivers until `shutdown`; then each task ends the object that it has under way and returns. Dropping the
    /// future stops everything at once: what was not answered is sent again after the next start.
    pub async fn run(self, shutdown: CancellationToken) {
        if let Err(error) = self.take_stock().await {
            LedgerTrouble { destination: "(all)", error: &error }.emit();
        }
        let mut tasks = JoinSet::new();
        let mut running = HashMap::new();
        for worker in &self.workers {
            running.insert(tasks.spawn(worker.clone().run(shutdown.clone())).id(), worker);
        }
        loop {
            tokio::select! {
                () = self.wake.notified() => self.workers.iter().for_each(|worker| worker.wake.notify_one()),
                ended = tasks.join_next_with_id() => match ended {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        let Some(worker) = running.remove(&error.id()) else { continue };
                        DeliveryPanicked { destination: &worker.name }.emit();
                        let mut again = worker.clone();
                        again.pause(again.wait(1));
                        running.insert(tasks.spawn(again.run(shutdown.clone())).id(), worker);
                    }
                    None => {
                        // Without a destination there is nothing to do, but that is no reason to stop early.
                        shutdown.cancelled().await;
                        return;
                    }
                },
            }
        }
    }

    /// At the start: studies whose last delivery was recorded just before a stop, and deliveries that nobody
    /// here is responsible for.
    async fn take_stock(&self) -> Result<(), LedgerError> {
        for study in self.ledger.studies_in(StudyState::Reported).await? {
            settle(&self.ledger, &study.study_uid).await?;
        }
        for (destination, counts) in self.ledger.outbox_counts().await? {
            if counts.waiting > 0 && !self.workers.iter().any(|worker| worker.name == destination) {
                UnknownDestination { destination: &destination, waiting: counts.waiting }.emit();
            }
        }
        Ok(())
    }
}

async fn settle(ledger: &Ledger, study_uid: &Uid) -> Result<(), LedgerError> {
    if let Some(settled) = ledger.settle_study(study_uid).await? {
        StudyDelivered { settled: &settled }.emit();
    }
    Ok(())
}

/// One destination.
#[derive(Debug, Clone)]
struct Worker {
    name: String,
    call: Call,
    retry_s: f64,
    max_retry_s: f64,
    ledger: Ledger,
    spool: PathBuf,
    wake: Arc<Notify>,
    /// Failed associations in a row. Kept in memory only: after a restart the destination gets a fresh chance.
    failures: u32,
    /// Nothing is sent before.
    paused_until: Option<Instant>,
}

/// Why a run of objects ended early.
enum Stop {
    Ledger(LedgerError),
    Association(AssociationError),
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Stop {
        Stop::Ledger(error)
    }
}

impl Worker {
    async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let wait = match self.until_next().await {
                Ok(wait) => wait,
                Err(error) => {
                    LedgerTrouble { destination: &self.name, error: &error }.emit();
                    self.wait(1)
                }
            };
            if !wait.is_zero() {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.wake.notified() => {}
                    () = sleep(wait) => {}
                }
                continue;
            }
            if let Err(error) = self.deliver_due(&shutdown).await {
                LedgerTrouble { destination: &self.name, error: &error }.emit();
                self.pause(self.wait(1));
            }
        }
    }

    /// How long until something may be sent; zero: now.
    async fn until_next(&self) -> Result<Duration, LedgerError> {
        let pause = self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        let Some(mut due_at) = self.ledger.next_due_at(&self.name).await? else { return Ok(MAX_SLEEP) };
        // No wait of ours is longer: the clock was set back since it was written down.
        let latest = after(self.wait(u32::MAX) + Duration::from_secs(1));
        if due_at > latest {
            self.ledger.bring_forward(&self.name, latest).await?;
            due_at = latest;
        }
        let until_due = Duration::try_from(due_at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
        Ok(until_due.max(pause).min(MAX_SLEEP))
    }

    /// Sends what is due of one study.
    async fn deliver_due(&mut self, shutdown: &CancellationToken) -> Result<(), LedgerError> {
        let due = self.ledger.due(&self.name, Timestamp::now(), MAX_OBJECTS_PER_ASSOCIATION).await?;
        let Some(study_uid) = due.first().map(|object| object.study_uid.clone()) else { return Ok(()) };
        let files = self.open_files(due).await?;
        if !files.is_empty() {
            self.deliver_study(&study_uid, &files, shutdown).await?;
        }
        settle(&self.ledger, &study_uid).await
    }

    /// Reads the heads of the objects' files. One that is gone or damaged is given up, loudly.
    async fn open_files(&self, due: Vec<DueObject>) -> Result<Vec<(DueObject, DicomFile)>, LedgerError> {
        let mut files = Vec::with_capacity(due.len());
        for object in due {
            let (path, expected) = (self.spool.join(&object.path), object.sop_instance_uid.clone());
            let opened = tokio::task::spawn_blocking(move || open_as(&path, &expected)).await;
            match opened {
                Ok(Ok(file)) => files.push((object, file)),
                Ok(Err(error)) => self.refuse(&object, None, &error.to_string()).await?,
                Err(join) => self.refuse(&object, None, &format!("its file could not be read: {join}")).await?,
            }
        }
        Ok(files)
    }

    async fn deliver_study(
        &mut self,
        study_uid: &Uid,
        files: &[(DueObject, DicomFile)],
        shutdown: &CancellationToken,
    ) -> Result<(), LedgerError> {
        let started = Instant::now();
        let offers = scu::offers(files.iter().map(|(_, file)| file));
        let call = self.call.clone();
        let requested = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            requested = Association::request(&call, &offers) => requested,
        };
        let mut association = match requested {
            Ok(association) => association,
            Err(error) => {
                let wait = self.in_trouble(&error);
                return self.ledger.postpone(study_uid, &self.name, after(wait), &error.to_string()).await;
            }
        };
        let mut stored = 0;
        let sent = self.store_all(&mut association, files, &mut stored, shutdown).await;
        match sent {
            Ok(()) => association.release().await,
            Err(_) => association.abort().await,
        }
        AssociationDone { destination: &self.name, study_uid, stored, due: files.len(), took: started.elapsed() }
            .emit();
        match sent {
            Ok(()) => Ok(()),
            Err(Stop::Ledger(error)) => Err(error),
            Err(Stop::Association(error)) => {
                self.in_trouble(&error);
                Ok(())
            }
        }
    }

    async fn store_all(
        &mut self,
        association: &mut Association,
        files: &[(DueObject, DicomFile)],
        stored: &mut usize,
        shutdown: &CancellationToken,
    ) -> Result<(), Stop> {
        let mut passing_in_a_row = 0;
        for (object, file) in files {
            if shutdown.is_cancelled() {
                return Ok(());
            }
            let outcome = match association.store(file).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    self.defer(object, None, &error.to_string()).await?;
                    return Err(Stop::Association(error));
                }
            };
            passing_in_a_row = if let StoreOutcome::Passing { .. } = outcome { passing_in_a_row + 1 } else { 0 };
            if let StoreOutcome::Stored { .. } = outcome {
                *stored += 1;
            }
            self.record(object, file, outcome).await?;
            if passing_in_a_row == MAX_PASSING_IN_A_ROW {
                self.pause(self.wait(1) / 2);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn record(&mut self, object: &DueObject, file: &DicomFile, outcome: StoreOutcome) -> Result<(), LedgerError> {
        match outcome {
            StoreOutcome::Stored { status } => {
                self.ledger.record_delivered(&object.sop_instance_uid, &self.name, status.0).await?;
                let sop_instance_uid = &object.sop_instance_uid;
                ObjectDelivered { destination: &self.name, sop_instance_uid, status: status.0 }.emit();
                if self.failures > 0 {
                    DestinationBack { destination: &self.name, failures: self.failures }.emit();
                    self.failures = 0;
                    self.ledger.hasten(&self.name).await?;
                }
                Ok(())
            }
            StoreOutcome::Passing { status, comment } => {
                self.defer(object, Some(status), &answer(status, &comment)).await
            }
            StoreOutcome::Refused { status, comment } => {
                self.refuse(object, Some(status), &answer(status, &comment)).await
            }
            StoreOutcome::NotAccepted => {
                let reason = format!(
                    "{} accepts no presentation context for SOP class {} ({})",
                    self.call.peer,
                    file.sop_class_uid,
                    object.kind.name()
                );
                self.refuse(object, None, &reason).await
            }
            StoreOutcome::Unreadable(error) => self.refuse(object, None, &error.to_string()).await,
        }
    }

    async fn defer(&self, object: &DueObject, status: Option<Status>, reason: &str) -> Result<(), LedgerError> {
        let wait = self.wait(object.attempts.saturating_add(1));
        let uid = &object.sop_instance_uid;
        ObjectDeferred { destination: &self.name, sop_instance_uid: uid, reason, wait }.emit();
        self.ledger.record_deferred(uid, &self.name, after(wait), status.map(|s| s.0), reason).await
    }

    async fn refuse(&self, object: &DueObject, status: Option<Status>, reason: &str) -> Result<(), LedgerError> {
        let DueObject { study_uid, sop_instance_uid, .. } = object;
        ObjectRefused { destination: &self.name, study_uid, sop_instance_uid, reason }.emit();
        self.ledger.record_refused(sop_instance_uid, &self.name, status.map(|s| s.0), reason).await
    }

    /// Counts a failed association, pauses, and says how long the study's deliveries should wait.
    fn in_trouble(&mut self, error: &AssociationError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = self.wait(self.failures);
        self.pause((wait / 2).min(MAX_PAUSE));
        DestinationInTrouble { destination: &self.name, error, failures: self.failures, wait }.emit();
        wait
    }

    fn pause(&mut self, pause: Duration) {
        self.paused_until = Some(Instant::now() + pause);
    }

    /// The wait before attempt `failures + 1`: doubled each time, bounded, and up to a tenth longer.
    fn wait(&self, failures: u32) -> Duration {
        let mut hasher = DefaultHasher::new();
        (&self.name, failures).hash(&mut hasher);
        let unevenness = 1.0 + (hasher.finish() % 1000) as f64 / 10_000.0;
        let doublings = failures.saturating_sub(1).min(60);
        let seconds = (self.retry_s * 2_f64.powi(doublings as i32)).min(self.max_retry_s) * unevenness;
        // Never zero, whatever the configuration says: a task must not spin.
        Duration::try_from_secs_f64(seconds).unwrap_or(MAX_SLEEP).max(Duration::from_millis(10))
    }
}

/// Opens a file and checks that it still is the object that the ledger means.
fn open_as(path: &Path, expected: &Uid) -> Result<DicomFile, FileError> {
    let file = DicomFile::open(path)?;
    if file.sop_instance_uid != *expected {
        let (expected, found) = (expected.clone(), file.sop_instance_uid);
        return Err(FileError::OtherObject { path: path.to_owned(), expected, found });
    }
    Ok(file)
}

fn after(wait: Duration) -> Timestamp {
    let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Timestamp::now().saturating_add(jiff::SignedDuration::from_millis(wait)).unwrap_or(Timestamp::MAX)
}

/// A peer's answer in words.
fn answer(status: Status, comment: &str) -> String {
    if comment.is_empty() { format!("answered {status}") } else { format!("answered {status}: {comment}") }
}
