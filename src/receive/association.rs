//! One association: the message loop, C-STORE and C-ECHO.
//!
//! PDVs are assembled here from what the upper layer delivers: a fragment may be empty without being the last,
//! a PDU may hold the end of a command and the beginning of its dataset, and a message stays on one context.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use tokio::time::Instant;

use super::abort::AbortCause;
use super::admission::Admission;
use super::answers::{OtherAnswer, RefusalCause, Stored};
use super::establish::{Established, Shared, enough_room};
use super::negotiation::{Context, ContextAnswer};
use super::object::{ReceivingObject, Refusal};
use super::pace::{Pace, seconds};
use super::patience::{Limit, wait_until};
use super::receipt::{Account, End, Stop, Unserved};
use super::store::settle;
use crate::dicom::Uid;
use crate::dicom::dimse::{CStoreRq, CStoreRsp, Command, MAX_COMMAND_BYTES, VERIFICATION};
use crate::dicom::peer_text::shown;
use crate::dicom::upper_layer::{PduStream, UpperLayerError};
use crate::ledger::associations::Outcome;
use crate::observe::events::receive::{InstanceRefused, ReceiptIncomplete, RequestNotServed, Sender, StoreFailed};
use crate::spool::received_file::ReceivedHeader;
use crate::spool::room::Level;
use crate::study::in_flight::AssociationStudies;

/// An established association.
pub(super) struct Association {
    shared: Arc<Shared>,
    stream: PduStream,
    account: Account,
    admission: Admission,
    /// Accepted contexts only: nothing else may carry data.
    contexts: HashMap<u8, Context>,
    refused_contexts: HashMap<u8, ContextAnswer>,
    association_id: i64,
    studies: AssociationStudies,
    ends_at: Instant,
    /// PDVs of the last P-DATA-TF that were not looked at yet.
    queue: VecDeque<PDataValue>,
    /// Memory for the next object.
    buffer: Vec<u8>,
    unserved: Unserved,
}

/// What the next step of the message loop is about.
enum Incoming {
    Value(PDataValue),
    ReleaseRequest,
}

impl Association {
    /// An association whose A-ASSOCIATE-AC has gone out.
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: PduStream,
        account: Account,
        admission: Admission,
        established: Established,
    ) -> Self {
        let Established { contexts, refused_contexts, association_id } = established;
        Association {
            studies: shared.intake.in_flight.association(),
            ends_at: Instant::now() + seconds(shared.config.association_timeout_s),
            queue: VecDeque::new(),
            buffer: Vec::new(),
            unserved: Unserved::default(),
            shared,
            stream,
            account,
            admission,
            contexts,
            refused_contexts,
            association_id,
        }
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self) -> End {
        let stop = loop {
            match self.message().await {
                Ok(true) => {}
                Ok(false) => {
                    // The sender is done with its studies, whenever it gets round to closing the connection.
                    drop(self.studies);
                    self.stream.close().await;
                    return End { outcome: Outcome::Released, why: self.unserved.told("released by the peer") };
                }
                Err(stop) => break stop,
            }
        };
        drop(self.studies);
        if let Some(source) = stop.answer {
            self.admission.farewell().await;
            self.stream.abort(source).await;
        }
        End { why: self.unserved.told(&stop.end.why), ..stop.end }
    }

    /// One message; `false` after a release.
    async fn message(&mut self) -> Result<bool, Stop> {
        let first = match self.next(None).await? {
            Incoming::Value(value) => value,
            Incoming::ReleaseRequest => {
                self.admission.farewell().await;
                let deadline = self.answer_deadline();
                self.stream.send(&Pdu::ReleaseRP, deadline).await?;
                return Ok(false);
            }
        };
        let config = &self.shared.config;
        let object_limit = seconds(config.object_timeout_s);
        let pace = Pace::new(Instant::now(), self.stream.bytes_received(), object_limit, config.min_bytes_per_s);
        let context_id = first.presentation_context_id;
        let Some(context) = self.contexts.get(&context_id).cloned() else {
            let why = self.refused_contexts.get(&context_id).map_or("it was not proposed", |answer| answer.when());
            return Err(Stop::because(
                AbortCause::ContextNotAccepted,
                format!("data came on presentation context {context_id}, which was not accepted: {why}"),
            ));
        };
        let command = self.command(first, &pace).await?;
        let command = Command::decode(&command).map_err(|error| {
            Stop::because(AbortCause::UnreadableCommand, format!("a command cannot be read: {error}"))
        })?;
        match command {
            Command::CStoreRq(request) => self.store(context_id, context, request, pace).await?,
            Command::CEchoRq { message_id } => {
                let is_verification = context.abstract_syntax == VERIFICATION;
                let answer = if is_verification { OtherAnswer::Echo } else { OtherAnswer::EchoElsewhere };
                if answer != OtherAnswer::Echo {
                    self.note_unserved("a C-ECHO on a context for a storage class", answer);
                }
                self.respond(context_id, &Command::CEchoRsp { message_id, status: answer.status() }).await?;
            }
            Command::OtherRq { command_field, message_id, has_dataset: false } => {
                let status = OtherAnswer::UnofferedService.status();
                self.note_unserved(&format!("command {command_field:04X}H"), OtherAnswer::UnofferedService);
                if let Some(answer) = Command::response_to(command_field, message_id, status) {
                    self.respond(context_id, &answer).await?;
                }
            }
            Command::OtherRq { command_field, has_dataset: true, .. } => {
                return Err(Stop::because(
                    AbortCause::UnofferedService,
                    format!(
                        "the peer asks for command {command_field:04X}H with a data set; only C-STORE and C-ECHO are served"
                    ),
                ));
            }
            Command::CStoreRsp(_) => return Err(Stop::unasked("C-STORE response")),
            Command::CEchoRsp { .. } => return Err(Stop::unasked("C-ECHO response")),
            Command::OtherRsp { command_field, .. } => {
                return Err(Stop::unasked(&format!("response {command_field:04X}H")));
            }
        }
        Ok(true)
    }

    /// Logs the first such request and counts all of them for the receipt.
    fn note_unserved(&mut self, what: &str, answer: OtherAnswer) {
        if self.unserved.note(what) {
            let opening = self.account.receipt().opening.clone();
            let sender =
                Sender { association: self.association_id, peer: opening.peer, calling_ae: &opening.calling_ae };
            RequestNotServed { sender, what, status: answer.status() }.emit();
        }
    }

    /// Assembles a command set from its first fragment on.
    async fn command(&mut self, first: PDataValue, pace: &Pace) -> Result<Vec<u8>, Stop> {
        let context_id = first.presentation_context_id;
        let mut command = Vec::new();
        let mut value = first;
        loop {
            if value.value_type != PDataValueType::Command {
                return Err(Stop::because(
                    AbortCause::DatasetBeforeCommand,
                    "data set bytes came where a command must be",
                ));
            }
            command.extend_from_slice(&value.data);
            if command.len() > MAX_COMMAND_BYTES {
                let why = format!("a command is longer than {MAX_COMMAND_BYTES} bytes");
                return Err(Stop::because(AbortCause::CommandTooLong, why));
            }
            if value.is_last {
                return Ok(command);
            }
            value = self.next_of_message(context_id, pace).await?;
        }
    }

    /// C-STORE: the dataset, its place, the answer.
    async fn store(&mut self, context_id: u8, context: Context, request: CStoreRq, mut pace: Pace) -> Result<(), Stop> {
        self.account.receipt().counts.offered += 1;
        let mut dataset_bytes = 0;
        let object = self
            .dataset(context_id, &context, &request, &mut pace, &mut dataset_bytes)
            .await
            .map_err(|stop| stop.during(&request.sop_instance_uid, dataset_bytes))?;
        let outcome = match object {
            Ok(object) => self.make_durable(object).await,
            Err(refusal) => Err(refusal),
        };
        let refusal = self.note(&request, outcome);
        let (status, error_comment) =
            refusal.as_ref().map_or((Stored::STATUS, String::new()), |refusal| (refusal.status, refusal.comment()));
        let sop_instance_uid = request.sop_instance_uid.clone();
        let response = CStoreRsp {
            message_id: request.message_id,
            sop_class_uid: request.sop_class_uid,
            sop_instance_uid: request.sop_instance_uid,
            status,
            error_comment,
        };
        let answered = self.respond(context_id, &Command::CStoreRsp(response)).await;
        // After the answer: where the ledger is what failed, the sender has waited for it once already.
        if let Some(refusal) = refusal {
            let ledger = &self.shared.intake.ledger;
            let status = refusal.status.0;
            let noted = ledger.record_refusal(self.association_id, &sop_instance_uid, status, &refusal.why).await;
            if let Err(error) = noted {
                // The receipt's count does not hang on it.
                ReceiptIncomplete { association: self.association_id, error: &error }.emit();
            }
        }
        answered
    }

    /// Receives the dataset of a C-STORE, also where the object will be refused: only after its last fragment
    /// may the response be sent.
    async fn dataset(
        &mut self,
        context_id: u8,
        context: &Context,
        request: &CStoreRq,
        pace: &mut Pace,
        dataset_bytes: &mut u64,
    ) -> Result<Result<ReceivingObject, Refusal>, Stop> {
        let mut object = self.begin(context, request);
        let max_object_bytes = self.shared.config.max_object_mib.saturating_mul(1 << 20);
        loop {
            let value = self.next_of_message(context_id, pace).await?;
            if value.value_type != PDataValueType::Data {
                return Err(Stop::because(
                    AbortCause::CommandInsteadOfDataset,
                    "a command came where a data set must be",
                ));
            }
            *dataset_bytes += value.data.len() as u64;
            self.account.receipt().counts.bytes += value.data.len() as u64;
            if *dataset_bytes > max_object_bytes {
                let max_mib = self.shared.config.max_object_mib;
                let why = format!("an object is larger than {max_mib} MiB (receive.max_object_mib)");
                return Err(Stop::because(AbortCause::ObjectTooLarge, why));
            }
            if let Ok(receiving) = &mut object {
                let before = Instant::now();
                if let Err(refusal) = receiving.append(&value.data).await {
                    object = Err(refusal);
                }
                pace.excuse(before.elapsed());
            }
            if value.is_last {
                return Ok(object);
            }
        }
    }

    /// What can be judged from the command alone.
    fn begin(&mut self, context: &Context, request: &CStoreRq) -> Result<ReceivingObject, Refusal> {
        // Verification is no class to store, even for a command that names it.
        if request.sop_class_uid != context.abstract_syntax || context.abstract_syntax == VERIFICATION {
            let why = format!("SOP class does not belong to the context, which is for {}", context.abstract_syntax);
            return Err(Refusal::theirs(RefusalCause::NotOfThisContext, why));
        }
        let uid = |text: &str| Uid::parse(text).map_err(|e| Refusal::theirs(RefusalCause::NotAUid, e));
        let sop_class_uid = uid(&request.sop_class_uid)?;
        let sop_instance_uid = uid(&request.sop_instance_uid)?;
        enough_room(&self.shared.intake, Level::Rejecting)?;
        let header = ReceivedHeader {
            sop_class_uid,
            sop_instance_uid,
            transfer_syntax: context.transfer_syntax.clone(),
            source_ae: self.account.receipt().opening.calling_ae.clone(),
        };
        Ok(ReceivingObject::new(header, self.shared.intake.spool.clone(), std::mem::take(&mut self.buffer)))
    }

    async fn make_durable(&mut self, object: ReceivingObject) -> Result<Stored, Refusal> {
        let spool = self.shared.intake.spool.clone();
        let _until_the_row_is_written = spool.no_removal().await;
        let (finished, buffer) = object.finish().await?;
        self.buffer = buffer;
        // Before the row: whoever sees the row must also see that more may come.
        self.studies.register(&finished.identifiers.study_uid);
        settle(finished, self.association_id, &spool, &self.shared.intake.ledger).await
    }

    /// Counts and logs an outcome; gives the refusal, if it is one.
    fn note(&self, request: &CStoreRq, outcome: Result<Stored, Refusal>) -> Option<Refusal> {
        let refusal = match outcome {
            Ok(stored) => {
                let counts = &mut self.account.receipt().counts;
                match stored {
                    Stored::New => counts.stored += 1,
                    Stored::Duplicate => counts.duplicates += 1,
                    Stored::Quarantined => counts.quarantined += 1,
                }
                return None;
            }
            Err(refusal) => refusal,
        };
        let mut receipt = self.account.receipt();
        receipt.counts.refused += 1;
        let sender = Sender {
            association: self.association_id,
            peer: receipt.opening.peer,
            calling_ae: &receipt.opening.calling_ae,
        };
        let sop_instance = &shown(&request.sop_instance_uid);
        if refusal.is_our_fault {
            StoreFailed { sop_instance, sender, error: &refusal.why }.emit();
        } else {
            let nth = receipt.counts.refused;
            InstanceRefused { sop_instance, sender, status: refusal.status, why: &refusal.why, nth }.emit();
        }
        Some(refusal)
    }

    async fn respond(&mut self, context_id: u8, response: &Command) -> Result<(), Stop> {
        let deadline = self.answer_deadline();
        Ok(self.stream.send_command(context_id, &response.encode(), deadline).await?)
    }

    /// A peer that does not take our answers is as dead as a silent one.
    fn answer_deadline(&self) -> Instant {
        Instant::now() + seconds(self.shared.config.idle_timeout_s)
    }

    /// The next PDV of the message under way; it must be on the message's context.
    async fn next_of_message(&mut self, context_id: u8, pace: &Pace) -> Result<PDataValue, Stop> {
        match self.next(Some(pace)).await? {
            Incoming::Value(value) if value.presentation_context_id == context_id => Ok(value),
            Incoming::Value(value) => Err(Stop::because(
                AbortCause::ContextChanged,
                format!(
                    "a message began on presentation context {context_id} and went on on {}",
                    value.presentation_context_id
                ),
            )),
            Incoming::ReleaseRequest => Err(Stop::unexpected(&Pdu::ReleaseRQ, "came in the middle of a message")),
        }
    }

    /// The next PDV or a release; between messages (`pace` is `None`) the idle time counts.
    async fn next(&mut self, pace: Option<&Pace>) -> Result<Incoming, Stop> {
        let idle_since = Instant::now();
        loop {
            if let Some(value) = self.queue.pop_front() {
                return Ok(Incoming::Value(value));
            }
            let (deadline, limit) = self.wait_until(pace, idle_since);
            let interrupt = if pace.is_some() { &self.shared.cut } else { &self.shared.stop };
            let received = tokio::select! {
                biased;
                () = interrupt.cancelled() => return Err(Stop::stopping()),
                received = self.stream.receive(deadline) => received,
            };
            match received {
                Ok(Pdu::PData { data }) if data.is_empty() => {
                    return Err(Stop::because(AbortCause::EmptyPdu, "a P-DATA-TF without a value"));
                }
                Ok(Pdu::PData { data }) => self.queue = data.into(),
                Ok(Pdu::ReleaseRQ) => return Ok(Incoming::ReleaseRequest),
                Ok(Pdu::AbortRQ { source }) => return Err(Stop::aborted_by_peer(&source)),
                Ok(other) => return Err(Stop::unexpected(&other, "came within an association")),
                // Bytes may have come meanwhile that buy more time.
                Err(UpperLayerError::Timeout { .. }) if self.wait_until(pace, idle_since).0 > Instant::now() => {}
                Err(UpperLayerError::Timeout { .. }) => {
                    return Err(limit.reached(&self.shared.config, self.stream.unfinished_bytes()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait_until(&self, pace: Option<&Pace>, idle_since: Instant) -> (Instant, Limit) {
        wait_until(&self.shared.config, pace, self.stream.bytes_received(), idle_since, self.ends_at)
    }
}
