//! A peer's whole side of an association, on the receiver's real message loop with a spool and a ledger: what is
//! acknowledged came whole and lies in the spool byte for byte, nothing else does, nothing stays under way, and every
//! answer is a PDU of the standard.
//!
//! The judge is a second, plain reading of the peer's bytes: it follows no rule of the protocol but the framing. So it
//! finds at least every message that the receiver may take.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dicom_ul::pdu::{AssociationRQ, PDataValue, PDataValueType, Pdu, PresentationContextProposed, write_pdu};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use super::choices::Choices;
use super::slices::{MR_IMAGE_STORAGE, STUDY_UID};
use super::{Target, scratch, slices};
use crate::assemble::dataset_start;
use crate::config;
use crate::dicom::dimse::{CStoreRq, Command, Status, VERIFICATION};
use crate::dicom::identifying::{
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN,
};
use crate::dicom::upper_layer::{APPLICATION_CONTEXT, our_user_information};
use crate::ledger::Ledger;
use crate::receive::{Intake, conversation};
use crate::spool::room::{RoomWatch, Steps};
use crate::spool::{Commit, Committed, Spool, SpoolError};
use crate::study::InFlight;

pub(super) const TARGET: Target = Target {
    name: "association",
    run,
    seeds,
    must_reach: &["stored", "released", "rejected", "aborted_by_us", "aborted_by_peer"],
};

/// The first byte of an input that is what the peer sends, not a script of it.
const RAW: u8 = 0;
const AE_TITLE: &str = "FCDD";
/// Accepted contexts of the script's association.
const CONTEXTS: [(u8, &str, &str); 4] = [
    (1, MR_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN),
    (3, VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN),
    (5, MR_IMAGE_STORAGE, IMPLICIT_VR_LITTLE_ENDIAN),
    (7, MR_IMAGE_STORAGE, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
];

fn run(bytes: &[u8]) -> &'static str {
    let mut choices = Choices::new(bytes);
    let sent = if choices.byte() == RAW { choices.rest().to_vec() } else { script(&mut choices) };
    let mut bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    // A case that breaks an invariant leaves its traces: the next one gets a bench of its own.
    let used = bench.take().filter(|bench| bench.cases < MAX_CASES).unwrap_or_else(Bench::new);
    let (bench_after, reached) = used.judge(&sent);
    *bench = Some(bench_after);
    reached
}

// --- what the peer sends ---

/// Steps of a peer that knows how to frame PDUs, so that damage gets behind the framing.
fn script(choices: &mut Choices) -> Vec<u8> {
    let mut out = Vec::new();
    while !choices.is_over() && out.len() < 1 << 20 {
        match choices.byte() % 12 {
            0 => send(&mut out, &associate()),
            1 => {
                let (context, control) = (choices.byte(), choices.byte());
                let count = usize::from(choices.short());
                let fragment = choices.bytes(count);
                send(&mut out, &p_data(&[(context, control, fragment)]));
            }
            2 => {
                let (pdu_type, count) = (choices.byte(), usize::from(choices.short()));
                write_raw_pdu(&mut out, pdu_type, choices.bytes(count));
            }
            3 => out.extend(choices.counted()),
            4 => send(&mut out, &Pdu::ReleaseRQ),
            5 => send(&mut out, &p_data(&[(choices.byte(), COMMAND | LAST, &store(choices.byte()))])),
            6 => {
                let (context, instance, fragments) = (choices.byte(), choices.byte(), choices.byte());
                write_dataset(&mut out, context, &dataset(context, instance), fragments);
            }
            7 => send(&mut out, &p_data(&[(choices.byte(), COMMAND | LAST, &echo())])),
            // A whole C-STORE.
            8 => {
                let (context, instance, fragments) = (choices.byte(), choices.byte(), choices.byte());
                send(&mut out, &p_data(&[(context, COMMAND | LAST, &store(instance))]));
                write_dataset(&mut out, context, &dataset(context, instance), fragments);
            }
            // A C-STORE whose dataset is the fuzzer's own.
            9 => {
                let (context, instance) = (choices.byte(), choices.byte());
                let count = usize::from(choices.short());
                let own = choices.bytes(count);
                send(&mut out, &p_data(&[(context, COMMAND | LAST, &store(instance))]));
                write_dataset(&mut out, context, own, 1);
            }
            // Command and dataset in one PDU.
            10 => {
                let (context, instance) = (choices.byte(), choices.byte());
                let dataset = dataset(context, instance);
                send(&mut out, &p_data(&[(context, COMMAND | LAST, &store(instance)), (context, LAST, &dataset)]));
            }
            // A command set of the fuzzer's own.
            _ => {
                let (context, count) = (choices.byte(), usize::from(choices.short()));
                send(&mut out, &p_data(&[(context, COMMAND | LAST, choices.bytes(count))]));
            }
        }
    }
    out
}

/// Bits of a message control header (PS3.8 annex E.2).
const COMMAND: u8 = 1;
const LAST: u8 = 2;

fn send(out: &mut Vec<u8>, pdu: &Pdu) {
    write_pdu(out, pdu).unwrap_or_else(|e| panic!("a PDU of the script cannot be written: {e}"));
}

fn write_raw_pdu(out: &mut Vec<u8>, pdu_type: u8, body: &[u8]) {
    out.extend([pdu_type, 0]);
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(body);
}

fn associate() -> Pdu {
    let propose = |(id, abstract_syntax, transfer_syntax): (u8, &str, &str)| PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.to_owned(),
        transfer_syntaxes: vec![transfer_syntax.to_owned()],
    };
    Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "FUZZER".to_owned(),
        called_ae_title: AE_TITLE.to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: CONTEXTS.map(propose).into(),
        user_variables: our_user_information(16_384),
    })
}

fn p_data(values: &[(u8, u8, &[u8])]) -> Pdu {
    let value = |(context, control, fragment): &(u8, u8, &[u8])| PDataValue {
        presentation_context_id: *context,
        value_type: if control & COMMAND != 0 { PDataValueType::Command } else { PDataValueType::Data },
        is_last: control & LAST != 0,
        data: fragment.to_vec(),
    };
    Pdu::PData { data: values.iter().map(value).collect() }
}

fn write_dataset(out: &mut Vec<u8>, context: u8, dataset: &[u8], fragments: u8) {
    let size = dataset.len().div_ceil(usize::from(fragments % 8) + 1).max(1);
    let mut fragments = dataset.chunks(size).peekable();
    while let Some(fragment) = fragments.next() {
        let control = if fragments.peek().is_none() { LAST } else { 0 };
        send(out, &p_data(&[(context, control, fragment)]));
    }
}

fn store(instance: u8) -> Vec<u8> {
    Command::CStoreRq(CStoreRq {
        message_id: u16::from(instance),
        sop_class_uid: MR_IMAGE_STORAGE.to_owned(),
        sop_instance_uid: format!("{STUDY_UID}.1.{}", u16::from(instance) + 1),
    })
    .encode()
}

fn echo() -> Vec<u8> {
    Command::CEchoRq { message_id: 1 }.encode()
}

/// The slice of that number, encoded as its context says. Some numbers are the same slice with other bytes.
fn dataset(context: u8, instance: u8) -> Vec<u8> {
    let transfer_syntax =
        CONTEXTS.iter().find(|(id, ..)| *id == context).map_or(EXPLICIT_VR_LITTLE_ENDIAN, |(.., syntax)| syntax);
    slices::Slice { transfer_syntax, ..slices::slice(1, instance) }.dataset()
}

// --- the receiver ---

/// After so many cases the ledger and the spool are made anew: a fuzzer runs for hours.
const MAX_CASES: usize = 20_000;

static BENCH: Mutex<Option<Bench>> = Mutex::new(None);

/// A receiver without a port.
struct Bench {
    runtime: Runtime,
    intake: Intake,
    config: config::Receive,
    folder: PathBuf,
    cases: usize,
}

/// Renames without syncing: no power fails here, and the disk would be all that is measured.
#[derive(Debug)]
pub struct NoSync;

impl Commit for NoSync {
    fn commit(&self, _file: &File, temporary: &Path, to: &Path) -> Result<Committed, SpoolError> {
        if to.exists() {
            return Ok(Committed::NameTaken);
        }
        let renamed = std::fs::rename(temporary, to);
        renamed.map(|()| Committed::New).map_err(|source| SpoolError::Io {
            doing: "rename into place",
            path: to.to_owned(),
            source,
        })
    }
}

impl Bench {
    fn new() -> Bench {
        let folder = scratch::folder("association");
        let _ = std::fs::remove_dir_all(&folder);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap_or_else(|e| panic!("no runtime: {e}"));
        let intake = runtime.block_on(async {
            let spool = Spool::open_with(&folder, Box::new(NoSync)).unwrap_or_else(|e| panic!("no spool: {e}"));
            let ledger = Ledger::open(&spool.ledger_path()).await.unwrap_or_else(|e| panic!("no ledger: {e}"));
            let steps = Steps { warn_mib: 0, min_mib: 0, reserve_mib: 0 };
            let room = Arc::new(RoomWatch::new(spool.clone(), steps));
            Intake { spool, ledger, in_flight: InFlight::new(), room }
        });
        let config = config::Receive { ae_title: AE_TITLE.to_owned(), max_object_mib: 1, ..config::Receive::default() };
        Bench { runtime, intake, config, folder, cases: 0 }
    }

    /// One conversation, and everything that must hold afterwards.
    fn judge(mut self, sent: &[u8]) -> (Bench, &'static str) {
        self.cases += 1;
        let (end, answer) = self.runtime.block_on(converse(&self.config, &self.intake, sent));
        let answers = read_answers(&answer);
        let messages = messages(sent);
        let kept = self.kept();
        for file in &kept {
            let is_whole = messages.iter().any(|message| message.dataset.as_deref() == Some(file.dataset.as_slice()));
            assert!(is_whole, "{} is no object that was sent whole", file.name);
        }
        let mut stored = 0;
        for answer in answers.iter().filter_map(|command| match command {
            Command::CStoreRsp(answer) if answer.status == Status::SUCCESS => Some(answer),
            _ => None,
        }) {
            stored += 1;
            let is_kept = messages.iter().filter(|message| message.stores(&answer.sop_instance_uid)).any(|message| {
                kept.iter().any(|file| {
                    file.is_of(&answer.sop_instance_uid) && message.dataset.as_deref() == Some(file.dataset.as_slice())
                })
            });
            assert!(is_kept, "{} was acknowledged and is not in the spool as it was sent", answer.sop_instance_uid);
        }
        assert!(answers.len() <= messages.len(), "{} answers to {} messages", answers.len(), messages.len());
        assert_eq!(files_below(&self.folder.join("incoming")).len(), 0, "something stayed under way");
        let Some((outcome, why, counts)) = end else {
            assert!(sent.is_empty() && kept.is_empty(), "the peer spoke and has no receipt");
            return (self, "nothing was said");
        };
        assert!(!why.is_empty(), "an end without a reason");
        assert!(counts.stored + counts.duplicates + counts.quarantined >= stored, "{counts:?}, {stored} acknowledged");
        assert!(counts.bytes <= sent.len() as u64, "{counts:?} of {} bytes", sent.len());
        let reached = if counts.stored > 0 { "stored" } else { outcome.name() };
        self.clear();
        (self, reached)
    }

    /// Every object outside `incoming/`.
    fn kept(&self) -> Vec<Kept> {
        let files = ["studies", "quarantine"].into_iter().flat_map(|part| files_below(&self.folder.join(part)));
        files
            .map(|path| {
                let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                let start = dataset_start(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Kept { name, dataset: bytes[start..].to_vec() }
            })
            .collect()
    }

    /// Forgets the case: the next one must not depend on it.
    fn clear(&self) {
        for path in ["studies", "quarantine"].into_iter().flat_map(|part| files_below(&self.folder.join(part))) {
            let _ = std::fs::remove_file(path);
        }
        let writer = &self.intake.ledger.writer;
        self.runtime.block_on(async {
            let tables: Vec<String> =
                sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
                    .fetch_all(writer)
                    .await
                    .unwrap_or_else(|e| panic!("the ledger's tables: {e}"));
            let mut statements = "PRAGMA foreign_keys = OFF;".to_owned();
            statements.extend(tables.iter().map(|table| format!("DELETE FROM {table};")));
            let cleared = sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(writer).await;
            cleared.unwrap_or_else(|e| panic!("the ledger cannot be emptied: {e}"));
        });
    }
}

type End = Option<(crate::ledger::associations::Outcome, String, crate::ledger::associations::Counts)>;

/// The peer sends everything, hangs up, and hears everything; how it ended and what it heard.
async fn converse(config: &config::Receive, intake: &Intake, sent: &[u8]) -> (End, Vec<u8>) {
    let (ours, theirs) = tokio::io::duplex(65_536);
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 104));
    let (mut from_receiver, mut to_receiver) = tokio::io::split(theirs);
    let talking = async {
        // Where the receiver has hung up the rest is lost, as with a real peer.
        let _ = to_receiver.write_all(sent).await;
        let _ = to_receiver.shutdown().await;
    };
    let mut heard = Vec::new();
    let listening = async {
        let _ = from_receiver.read_to_end(&mut heard).await;
    };
    let (end, (), ()) = tokio::join!(conversation::converse(config, intake, peer, ours), talking, listening);
    (end, heard)
}

// --- the judge ---

/// An object in the spool.
struct Kept {
    name: String,
    dataset: Vec<u8>,
}

impl Kept {
    fn is_of(&self, sop_instance_uid: &str) -> bool {
        self.name.strip_prefix(sop_instance_uid).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// A message as far as it came.
struct Message {
    command: Vec<u8>,
    /// Only where its last fragment came.
    dataset: Option<Vec<u8>>,
}

impl Message {
    fn stores(&self, sop_instance_uid: &str) -> bool {
        matches!(Command::decode(&self.command), Ok(Command::CStoreRq(rq)) if rq.sop_instance_uid == sop_instance_uid)
    }
}

/// Type and body of each whole PDU, as long as their lengths are believable.
fn pdus(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut pdus = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<6>() {
        let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]) as usize;
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        pdus.push((header[0], body));
        bytes = rest;
    }
    pdus
}

/// Every PDV of a P-DATA-TF: message control header and fragment.
fn values(mut body: &[u8]) -> Vec<(u8, &[u8])> {
    let mut values = Vec::new();
    while let Some((header, rest)) = body.split_first_chunk::<6>() {
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some((fragment, rest)) = length.checked_sub(2).and_then(|length| rest.split_at_checked(length)) else {
            break;
        };
        values.push((header[5], fragment));
        body = rest;
    }
    values
}

/// The messages in what the peer sent: commands, each with the dataset that followed it.
fn messages(sent: &[u8]) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let (mut command, mut dataset) = (Vec::new(), Vec::new());
    let data = pdus(sent).into_iter().filter(|(pdu_type, _)| *pdu_type == 0x04);
    for (control, fragment) in data.flat_map(|(_, body)| values(body)) {
        let is_last = control & LAST != 0;
        if control & COMMAND != 0 {
            command.extend_from_slice(fragment);
            if is_last {
                messages.push(Message { command: std::mem::take(&mut command), dataset: None });
                dataset.clear();
            }
        } else {
            dataset.extend_from_slice(fragment);
            let waiting = messages.last_mut().filter(|message| message.dataset.is_none());
            if let (true, Some(message)) = (is_last, waiting) {
                message.dataset = Some(std::mem::take(&mut dataset));
            }
        }
    }
    messages
}

/// The commands in what the receiver answered, after the PDUs around them were checked.
fn read_answers(answer: &[u8]) -> Vec<Command> {
    let pdus = pdus(answer);
    let whole: usize = pdus.iter().map(|(_, body)| 6 + body.len()).sum();
    assert_eq!(whole, answer.len(), "the receiver sent a part of a PDU");
    let mut commands = Vec::new();
    let mut command = Vec::new();
    for (place, (pdu_type, body)) in pdus.iter().enumerate() {
        let is_last = place + 1 == pdus.len();
        match pdu_type {
            0x02 => assert_eq!(place, 0, "an A-ASSOCIATE-AC in the middle"),
            0x03 => assert!(place == 0 && is_last, "an A-ASSOCIATE-RJ within an association"),
            0x04 => {
                assert!(place > 0, "data before the association");
                for (control, fragment) in values(body) {
                    assert_eq!(control & COMMAND, COMMAND, "the receiver sent a dataset");
                    command.extend_from_slice(fragment);
                    if control & LAST != 0 {
                        let whole = std::mem::take(&mut command);
                        commands.push(Command::decode(&whole).unwrap_or_else(|e| panic!("an answer: {e}")));
                    }
                }
            }
            0x06 | 0x07 => assert!(is_last, "the receiver went on after its goodbye"),
            other => panic!("the receiver sent a PDU of type {other:02X}H"),
        }
    }
    assert!(command.is_empty(), "an answer without its end");
    commands
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let scripts: [(&str, &[u8]); 13] = [
        ("echo", &[1, 0, 7, 3, 4]),
        ("store", &[1, 0, 8, 1, 2, 0, 4]),
        ("store-in-fragments", &[1, 0, 8, 1, 2, 7, 8, 5, 3, 3, 8, 7, 4, 1, 4]),
        ("store-in-one-pdu", &[1, 0, 10, 1, 2, 10, 5, 2, 4]),
        ("the-same-twice", &[1, 0, 8, 1, 2, 0, 8, 1, 2, 0, 4]),
        ("two-variants", &[1, 0, 8, 1, 2, 0, 8, 5, 2, 0, 4]),
        ("wrong-context", &[1, 0, 8, 9, 2, 0, 4]),
        ("no-dataset", &[1, 0, 5, 1, 2, 4]),
        ("dataset-without-command", &[1, 0, 6, 1, 2, 0]),
        ("own-dataset", &[1, 0, 9, 1, 2, 4, 0, 8, 0, 0x16, 0, 4]),
        ("empty-fragment", &[1, 0, 5, 1, 2, 1, 1, 0, 0, 0, 6, 1, 2, 3, 4]),
        ("abort", &[1, 0, 2, 7, 4, 0, 0, 0, 0, 0]),
        ("twice", &[1, 0, 0]),
    ];
    let mut seeds: Vec<(String, Vec<u8>)> =
        scripts.map(|(name, script)| (format!("script-{name}"), script.to_vec())).into();
    for (name, script) in &scripts {
        let raw = self::script(&mut Choices::new(&script[1..]));
        seeds.push((format!("raw-{name}"), [&[RAW], raw.as_slice()].concat()));
    }
    let raw = |name: &str, bytes: &[u8]| (format!("raw-{name}"), [&[RAW], bytes].concat());
    let mut elsewhere = Vec::new();
    if let Pdu::AssociationRQ(request) = associate() {
        let request = AssociationRQ { called_ae_title: "ELSEWHERE".to_owned(), ..request };
        send(&mut elsewhere, &Pdu::AssociationRQ(request));
    }
    seeds.extend([
        raw("http", b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n"),
        raw("4-gib", &[1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0]),
        raw("elsewhere", &elsewhere),
        raw("nothing", b""),
    ]);
    seeds
}
