//! The supervisor: sets the stages up, connects them, and stops them in an order that loses nothing.
//!
//! ```text
//! listener ─▶ spool + ledger ─▶ completion watch ─▶ analysis worker ─▶ outbox workers
//!      (in-flight changes wake it)    (study complete wakes it)   (new outbox rows wake them)
//! ```
//!
//! Tasks talk through the ledger; the notifications between them only say "look again", so that losing one
//! costs a little time and never a study. A stop cancels one token: the listener lets objects in flight
//! finish, the analysis worker its study, each outbox worker its object, all within the drain's bound; what
//! is left then is taken up by the next start.

mod analysis_attempt;
mod analysis_worker;
mod arrival_times;
mod completion_watch;
mod expiry;
mod housekeeping;
mod model_watch;
mod tick;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::assemble::admission::{Admission, InvalidPattern};
use crate::config::Config;
use crate::deliver::outbox::{Deliveries, InvalidDestination};
use crate::deliver::rules::{InvalidRule, Rules};
use crate::dicom::peer::{AeTitle, InvalidPeer};
use crate::ledger::rebuild::RebuildError;
use crate::ledger::removal::RemovalError;
use crate::ledger::{Ledger, LedgerError, SetAsideLedger};
use crate::observe::events::daemon as events;
use crate::pipeline::PipelineError;
use crate::receive::{Intake, ListenError, Listener};
use crate::spool::room::RoomWatch;
use crate::spool::{Spool, SpoolError, sentinel};
use crate::study::InFlight;

/// Why the daemon did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What the spool holds and the ledger lacks.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// What the last run was about to remove.
    #[error(transparent)]
    Removal(#[from] RemovalError),
    /// Rules, templates or models.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The admission rules.
    #[error(transparent)]
    Admission(#[from] InvalidPattern),
    /// The listener.
    #[error(transparent)]
    Receive(#[from] ListenError),
    /// Our AE title.
    #[error("receive.ae_title: {0}")]
    AeTitle(#[from] InvalidPeer),
    /// A destination.
    #[error(transparent)]
    Destination(#[from] InvalidDestination),
    /// A destination's rules.
    #[error(transparent)]
    Rule(#[from] InvalidRule),
    /// Signals cannot be caught.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// Loading the pipeline panicked.
    #[error("a start-up task broke off: {0}")]
    StartUp(tokio::task::JoinError),
}

/// Wakes tasks up when there is work. Nothing depends on a wake-up: each task also looks by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct WakeUps {
    study_complete: Arc<Notify>,
    objects_rendered: Arc<Notify>,
}

/// Runs the daemon until SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), DaemonError> {
    let stop = CancellationToken::new();
    cancel_on_signal(stop.clone())?;
    serve(config, stop).await
}

/// Runs the daemon until `stop` is cancelled.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), DaemonError> {
    let config = Arc::new(config);
    let still_starting = AbortOnDropHandle::new(tokio::spawn(say_that_start_up_goes_on()));
    if config.spool.mounted {
        sentinel::require(&config.spool.directory)?;
    }
    let spool = Spool::open(&config.spool.directory)?;
    let (ledger, damaged) = Ledger::open_or_begin_anew(&spool.ledger_path()).await?;
    if let Some(SetAsideLedger { path, why }) = &damaged {
        events::LedgerSetAside { path, why }.emit();
    }
    ledger.forget_troubles().await?;
    let associations = ledger.close_leftover_associations().await?;
    expiry::decide_what_is_aside(&ledger, &spool).await?;
    let rebuilt = ledger.rebuild_from_spool(&spool).await?;
    for (path, why) in &rebuilt.unreadable {
        events::UnreadableInSpool { path, why }.emit();
    }
    let objects = rebuilt.instances + rebuilt.quarantined;
    let rules = Rules::new(&config.destinations)?;
    let (results, unreadable) = analysis_worker::restore_results(&spool, &ledger, &rules).await?;
    for (path, why) in &unreadable {
        events::UnreadableInSpool { path, why }.emit();
    }
    events::TakenUp { associations, objects, results, analyses: ledger.restart_unfinished().await? }.emit();

    let admission = Arc::new(Admission::new(&config.assemble.admission)?);
    let in_flight = InFlight::new();
    let wake_ups = WakeUps::default();
    let room = Arc::new(RoomWatch::new(spool.clone(), config.spool.steps()));
    let intake =
        Intake { spool: spool.clone(), ledger: ledger.clone(), in_flight: in_flight.clone(), room: room.clone() };
    let listener = Listener::bind(&config.receive, intake).await?;
    let address = listener.local_addr();
    let drain = Duration::from_secs_f64(config.observe.drain_s);
    let deliveries = Deliveries::new(
        &config.destinations,
        &AeTitle::parse(&config.receive.ae_title)?,
        ledger.clone(),
        spool.directory(),
        wake_ups.objects_rendered.clone(),
    )?;

    let mut tasks = JoinSet::new();
    // The port is open before the models are loaded: intake needs nothing but the disk.
    tasks.spawn(listener.run(stop.clone(), drain));
    tasks.spawn(deliveries.run(stop.clone()));
    tasks.spawn(completion_watch::run(
        config.clone(),
        ledger.clone(),
        in_flight.clone(),
        wake_ups.clone(),
        stop.clone(),
    ));
    let pipeline = model_watch::CurrentPipeline::default();
    model_watch::load_first(&config, &ledger, &pipeline).await?;
    let models = pipeline.get().map_or_else(|| "none".to_owned(), |pipeline| model_watch::in_words(&pipeline));
    tasks.spawn(
        analysis_worker::AnalysisWorker {
            config: config.clone(),
            ledger: ledger.clone(),
            spool: spool.clone(),
            pipeline: pipeline.clone(),
            admission,
            rules,
            wake_ups: wake_ups.clone(),
        }
        .run(stop.clone()),
    );
    tasks.spawn(model_watch::run(config.clone(), ledger.clone(), pipeline, wake_ups.clone(), stop.clone()));
    tasks.spawn(
        housekeeping::Housekeeping {
            config: config.clone(),
            ledger: ledger.clone(),
            spool: spool.clone(),
            room,
            wake_ups,
        }
        .run(stop.clone()),
    );

    drop(still_starting);
    events::Ready { address, ae_title: &config.receive.ae_title, models: &models }.emit();
    // Outside systemd there is nobody to notify, which is no error.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    stop.cancelled().await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    events::Draining { seconds: drain.as_secs_f64() }.emit();
    let in_time =
        tokio::time::timeout(drain + Duration::from_secs(1), async { while tasks.join_next().await.is_some() {} })
            .await
            .is_ok();
    tasks.abort_all();
    ledger.close().await;
    events::Stopped { in_time }.emit();
    Ok(())
}

/// Checking the ledger of a million studies, or rebuilding a lost one from the spool, takes longer than systemd waits for
/// a service to start: it is told that the start goes on, for an hour at most.
async fn say_that_start_up_goes_on() {
    const EVERY: Duration = Duration::from_secs(60);
    const AT_MOST: u32 = 60;
    for _ in 0..AT_MOST {
        let within = u32::try_from((2 * EVERY).as_micros()).unwrap_or(u32::MAX);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::ExtendTimeoutUsec(within)]);
        tokio::time::sleep(EVERY).await;
    }
}

fn cancel_on_signal(stop: CancellationToken) -> Result<(), DaemonError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
