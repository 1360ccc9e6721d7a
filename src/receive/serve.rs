//! A connection from its first byte to its end, whichever that is.

use std::sync::Arc;
use std::time::Duration;

use dicom_ul::pdu::Pdu;
use tokio::time::Instant;

use super::admission::Admission;
use super::association::Association;
use super::establish::{Refused, Shared, establish};
use super::receipt::{Account, End, Stop};
use super::rejection::RejectionCause;
use super::waiting_room::unless_displaced;
use crate::dicom::transport::Transport;
use crate::dicom::upper_layer::PduStream;
use crate::ledger::associations::Outcome;

/// How long sending an A-ASSOCIATE-RJ may take.
const REJECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves a connection to its end. `None`: nothing was said, as by a port check, and no receipt is wanted.
pub(super) async fn serve(
    shared: Arc<Shared>,
    transport: impl Transport + 'static,
    admission: Admission,
    account: Account,
) -> Option<End> {
    let mut stream = match PduStream::new(transport, shared.config.max_pdu_bytes) {
        Ok(stream) => stream,
        Err(error) => return Some(Stop::from(error).end),
    };
    let turned_away = admission.turned_away();
    let turned_away = turned_away.as_ref();
    match establish(&shared, &mut stream, turned_away, &account).await {
        Ok(Some(established)) => Some(Association::new(shared, stream, account, admission, established).run().await),
        Ok(None) => None,
        Err(Refused::Rejected(rejection)) => {
            admission.farewell().await;
            unless_displaced(turned_away, reject(stream, rejection.cause)).await;
            Some(End { outcome: Outcome::Rejected, why: rejection.why })
        }
        Err(Refused::Stopped(stop)) => {
            if let Some(source) = stop.answer {
                admission.farewell().await;
                unless_displaced(turned_away, stream.abort(source)).await;
            }
            Some(stop.end)
        }
    }
}

async fn reject(mut stream: PduStream, cause: RejectionCause) {
    let deadline = Instant::now() + REJECT_TIMEOUT;
    if stream.send(&Pdu::AssociationRJ(cause.answer()), deadline).await.is_ok() {
        stream.close().await;
    }
}
