//! The listener: accepts connections within the limits, and outlives whatever happens in an association.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::admission::{Admission, Limits};
use super::establish::Shared;
use super::negotiation::Policy;
use super::receipt::{Account, End};
use super::refused::{RefusedConnections, Why};
use super::serve::serve;
use crate::config;
use crate::ledger::Ledger;
use crate::ledger::associations::Outcome;
use crate::observe::events::receive::{AcceptFailed, AssociationClosed, AssociationPanicked, Listening, ReceiptFailed};
use crate::spool::Spool;
use crate::spool::room::RoomWatch;
use crate::study::InFlight;

/// Pauses after `accept` failed (too many open files, for instance): the first one, and the longest.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long associations may take to say goodbye once the drain is over.
const CUT_BOUND: Duration = Duration::from_secs(3);

/// Where received objects go. Intake needs nothing else to work.
#[derive(Debug, Clone)]
pub struct Intake {
    /// Takes the files.
    pub spool: Spool,
    /// Takes the rows.
    pub ledger: Ledger,
    /// Knows which studies are being sent.
    pub in_flight: InFlight,
    /// Knows how much room there is.
    pub room: Arc<RoomWatch>,
}

/// The port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}. Is another program using the port? (Ports under 1024 need CAP_NET_BIND_SERVICE)"
)]
pub struct ListenError {
    /// Address and port from the configuration.
    pub address: SocketAddr,
    /// The system's reason.
    pub source: io::Error,
}

/// An open port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    config: config::Receive,
    intake: Intake,
}

impl Listener {
    /// Opens the port. From now on peers can connect; they are served once [`Listener::run`] runs.
    pub async fn bind(config: &config::Receive, intake: Intake) -> Result<Listener, ListenError> {
        let failed = |source| ListenError { address: config.listen, source };
        let socket = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Listener { socket, address, config: config.clone(), intake })
    }

    /// The address and port that it listens on (the port is the real one, also where 0 was asked for).
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; then accepts nothing more, lets each association finish the object it is
    /// receiving within `drain`, aborts what is left, and returns.
    pub async fn run(self, shutdown: CancellationToken, drain: Duration) {
        Listening { address: self.address, ae_title: &self.config.ae_title }.emit();
        let limits = Limits::new(&self.config);
        let cut = CancellationToken::new();
        let shared = Arc::new(Shared {
            policy: Policy::new(&self.config),
            config: self.config,
            intake: self.intake,
            stop: shutdown.clone(),
            cut: cut.clone(),
        });
        let mut associations = JoinSet::new();
        let mut refused = RefusedConnections::default();
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = associations.join_next() => continue,
                () = refused.wait() => {
                    refused.tell(Instant::now());
                    continue;
                }
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    pause = ACCEPT_PAUSE.0;
                    let admission = admit(&shared.config, &limits, peer.ip().to_canonical(), &mut refused);
                    if let Some(admission) = admission {
                        associations.spawn(supervise(shared.clone(), socket, peer, admission));
                    }
                }
                // The peer gave up while it was waiting; that says nothing about us.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    AcceptFailed { error: &error, pause_ms: pause.as_millis() }.emit();
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            }
        }
        drop(self.socket);
        refused.tell_all();
        let all_ended = async |associations: &mut JoinSet<()>| while associations.join_next().await.is_some() {};
        if tokio::time::timeout(drain, all_ended(&mut associations)).await.is_err() {
            cut.cancel();
            // What does not end even now is dropped; its receipt says "lost" after the next start.
            let _ = tokio::time::timeout(CUT_BOUND, all_ended(&mut associations)).await;
            associations.shutdown().await;
        }
    }
}

/// Decides about a connection before a byte of it is read. `None`: it is closed at once.
fn admit(
    config: &config::Receive,
    limits: &Limits,
    peer: IpAddr,
    refused: &mut RefusedConnections,
) -> Option<Admission> {
    let allowed = &config.allowed_addresses;
    if !allowed.is_empty() && !allowed.iter().any(|address| address.to_canonical() == peer) {
        refused.note(peer, Why::AddressNotAllowed, Instant::now());
        return None;
    }
    let (admission, displaced) = limits.admit(peer);
    if let Some(displaced) = displaced {
        refused.note(displaced, Why::Displaced, Instant::now());
    }
    Some(admission)
}

/// Serves one connection in a task of its own, so that a defect in it ends there, and writes its receipt.
async fn supervise(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr, admission: Admission) {
    let account = Account::new(peer);
    let serving = serve(shared.clone(), socket, admission.clone(), account.clone());
    let task = AbortOnDropHandle::new(tokio::spawn(serving));
    let end = match task.await {
        Ok(None) => return,
        Ok(Some(end)) => end,
        Err(error) => {
            AssociationPanicked { peer, error: &error.to_string() }.emit();
            End { outcome: Outcome::AbortedByUs, why: "a defect of fcdd ended the association".into() }
        }
    };
    admission.end().await;
    close_receipt(&shared.intake.ledger, &account, &end).await;
}

async fn close_receipt(ledger: &Ledger, account: &Account, end: &End) {
    let (opening, association_id, counts) = {
        let receipt = account.receipt();
        (receipt.opening.clone(), receipt.association_id, receipt.counts)
    };
    let written = async {
        let id = match association_id {
            Some(id) => id,
            None => ledger.open_association(&opening).await?,
        };
        ledger.close_association(id, end.outcome, &end.why, &counts).await.map(|()| id)
    };
    let association = match written.await {
        Ok(id) => Some(id),
        Err(error) => {
            ReceiptFailed { error: &error.to_string() }.emit();
            association_id
        }
    };
    AssociationClosed {
        association,
        peer: opening.peer,
        calling_ae: &opening.calling_ae,
        outcome: end.outcome,
        why: &end.why,
        counts: &counts,
    }
    .emit();
}
