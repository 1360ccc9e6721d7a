//! One association over any transport, without a listener around it: for the fuzz target, which has no sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::admission::Limits;
use super::establish::Shared;
use super::listener::Intake;
use super::negotiation::Policy;
use super::receipt::Account;
use super::serve::serve;
use crate::config;
use crate::dicom::transport::Transport;
use crate::ledger::associations::{Counts, Outcome};

/// Serves a peer to its end, as the listener would; its receipt. `None`: the peer said nothing.
pub(crate) async fn converse(
    config: &config::Receive,
    intake: &Intake,
    peer: SocketAddr,
    transport: impl Transport + 'static,
) -> Option<(Outcome, String, Counts)> {
    let shared = Shared {
        policy: Policy::new(config),
        config: config.clone(),
        intake: intake.clone(),
        stop: CancellationToken::new(),
        cut: CancellationToken::new(),
    };
    let account = Account::new(peer);
    let (admission, _) = Limits::new(config).admit(peer.ip());
    let end = serve(Arc::new(shared), transport, admission, account.clone()).await?;
    let counts = account.receipt().counts;
    Some((end.outcome, end.why, counts))
}
