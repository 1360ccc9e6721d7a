//! What the delivery scenarios share: an outbox with a study's results in it, peers to deliver to, waiting.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use fcdd::config::Destination;
use fcdd::deliver::{Deliveries, Rules, StudyFacts};
use fcdd::dicom::{AeTitle, Uid};
use fcdd::ledger::overview::StudyDetails;
use fcdd::ledger::result_record::{DeliveryFacts, ResultObject, ResultRecord};
use fcdd::ledger::{Ledger, StudyState};
use fcdd::study::{ObjectKind, RenderedObject, Selection};
use rustix::fs::OFlags;
use sqlx::Connection;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support;

/// Longer than anything here takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

pub const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
pub const COMPREHENSIVE_3D_SR: &str = "1.2.840.10008.5.1.4.1.1.88.34";
pub const PATIENT: &str = "Müller^Jörg";

/// A spool with its ledger.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub ledger: Ledger,
    pub wake: Arc<Notify>,
}

impl Bench {
    pub async fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.sqlite")).await.unwrap();
        Bench { folder, ledger, wake: Arc::new(Notify::new()) }
    }

    pub fn spool(&self) -> &Path {
        self.folder.path()
    }

    /// A study in the given state, as receiving would have left it.
    pub async fn study(&self, uid: &str, state: &str) {
        let url = self.spool().join("ledger.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(url).busy_timeout(SOON);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let insert =
            "INSERT INTO studies (study_uid, state, calling_ae, first_received_at, last_received_at, state_since)
                      VALUES (?1, ?2, 'MR1', 1000, 1000, 1000)";
        sqlx::query(insert).bind(uid).bind(state).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A study `uid` with `pictures` secondary captures (`uid.1`, `uid.2` ...) and one report (`uid.0`), reported.
    pub async fn report(&self, uid: &str, pictures: usize, destinations: &BTreeMap<String, Destination>) {
        self.study(uid, "analyzing").await;
        let folder = self.spool().join("results").join(uid);
        std::fs::create_dir_all(&folder).unwrap();
        let mut objects: Vec<RenderedObject> =
            (1..=pictures).map(|i| rendered(&folder, uid, &format!("{uid}.{i}"), ObjectKind::HeatmapT1)).collect();
        objects.insert(0, rendered(&folder, uid, &format!("{uid}.0"), ObjectKind::Report));
        self.report_objects(uid, &objects, destinations).await;
    }

    /// A study that is being analyzed becomes reported, with these objects, which lie in the spool.
    pub async fn report_objects(
        &self,
        uid: &str,
        objects: &[RenderedObject],
        destinations: &BTreeMap<String, Destination>,
    ) {
        let facts = StudyFacts {
            study_uid: uid.to_owned(),
            calling_ae: "MR1".into(),
            study_description: "Head".into(),
            untrained: false,
        };
        let outbox = Rules::new(destinations).unwrap().outbox(&facts, objects);
        let record = ResultRecord {
            format: ResultRecord::FORMAT,
            study_uid: Uid::parse(uid).unwrap(),
            revision: 1,
            looked_at_ms: 0,
            failure: None,
            verdict: "not_suspected".into(),
            probability: Some(0.1),
            selection: Selection::default(),
            content_digest: uid.to_owned(),
            result: serde_json::json!({}),
            series: Vec::new(),
            objects: ResultObject::of(objects, self.spool()),
            facts: DeliveryFacts {
                calling_ae: facts.calling_ae,
                study_description: facts.study_description,
                untrained: false,
            },
        };
        self.ledger.finish_analysis(&record, &outbox).await.unwrap();
        self.wake.notify_one();
    }

    /// Delivery at work, as the daemon has it.
    pub fn deliver(&self, destinations: &BTreeMap<String, Destination>) -> Delivering {
        let our_title = AeTitle::parse("FCDD").unwrap();
        let deliveries =
            Deliveries::new(destinations, &our_title, self.ledger.clone(), self.spool(), self.wake.clone()).unwrap();
        let shutdown = CancellationToken::new();
        Delivering { task: tokio::spawn(deliveries.run(shutdown.clone())), shutdown }
    }

    pub async fn details(&self, study: &str) -> StudyDetails {
        self.ledger.show_study(&Uid::parse(study).unwrap()).await.unwrap()
    }

    /// `object destination` → status, for each delivery of a study.
    pub async fn statuses(&self, study: &str) -> BTreeMap<String, String> {
        let mut statuses = BTreeMap::new();
        for object in self.details(study).await.objects {
            for delivery in object.deliveries {
                let key = format!("{} {}", object.sop_instance_uid, delivery.destination);
                statuses.insert(key, delivery.status.name().to_owned());
            }
        }
        statuses
    }

    /// Waits until a study stands in this state.
    pub async fn until(&self, study: &str, state: StudyState) -> StudyDetails {
        self.until_details(&format!("{study} becomes {state}"), study, |details| details.study.state == state).await
    }

    /// Waits until a study's details are as wished.
    pub async fn until_details(
        &self,
        what: &str,
        study: &str,
        mut wished: impl FnMut(&StudyDetails) -> bool,
    ) -> StudyDetails {
        let end = Instant::now() + SOON;
        loop {
            let details = self.details(study).await;
            if wished(&details) {
                return details;
            }
            assert!(Instant::now() < end, "{what}: not within {SOON:?}\n{details:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub struct Delivering {
    pub task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Delivering {
    /// An orderly stop.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.task).await.expect("a stop ends").expect("without a panic");
    }

    /// A crash: nothing is finished or recorded any more.
    pub async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn rendered(folder: &Path, study: &str, uid: &str, kind: ObjectKind) -> RenderedObject {
    let path = folder.join(format!("{uid}.dcm"));
    let class = if kind == ObjectKind::Report { COMPREHENSIVE_3D_SR } else { SECONDARY_CAPTURE };
    write_object(&path, class, study, uid);
    let parse = |text: &str| Uid::parse(text).unwrap();
    RenderedObject {
        kind,
        sop_class_uid: parse(class),
        sop_instance_uid: parse(uid),
        series_uid: parse(&format!("{study}.99")),
        path,
    }
}

/// Bytes of the picture in every secondary capture: longer than one PDU.
pub fn pixels() -> Vec<u8> {
    (0..200_u32 * 300).map(|i| (i * 7 % 251) as u8).collect()
}

/// A small object that a PACS would take, Explicit VR Little Endian.
pub fn write_object(path: &Path, class: &str, study: &str, uid: &str) {
    let text = |tag: Tag, vr: VR, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let number = |tag: Tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let mut object = InMemDicomObject::from_element_iter([
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        text(tags::SOP_CLASS_UID, VR::UI, class),
        text(tags::SOP_INSTANCE_UID, VR::UI, uid),
        text(tags::PATIENT_NAME, VR::PN, PATIENT),
        text(tags::PATIENT_ID, VR::LO, "P1"),
        text(tags::STUDY_INSTANCE_UID, VR::UI, study),
        text(tags::SERIES_INSTANCE_UID, VR::UI, &format!("{study}.99")),
    ]);
    if class == SECONDARY_CAPTURE {
        object.put(text(tags::MODALITY, VR::CS, "MR"));
        object.put(text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"));
        for (tag, value) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, 200),
            (tags::COLUMNS, 300),
            (tags::BITS_ALLOCATED, 8),
            (tags::BITS_STORED, 8),
            (tags::HIGH_BIT, 7),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            object.put(number(tag, value));
        }
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(pixels())));
    } else {
        object.put(text(tags::MODALITY, VR::CS, "SR"));
        let item = InMemDicomObject::from_element_iter([
            text(tags::VALUE_TYPE, VR::CS, "TEXT"),
            text(tags::TEXT_VALUE, VR::UT, "Für die Übung"),
        ]);
        object.put(DataElement::new(tags::CONTENT_SEQUENCE, VR::SQ, DataSetSequence::from(vec![item])));
    }
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    object.with_meta(meta).unwrap().write_to_file(path).unwrap();
}

/// Destinations by name, port and further settings; impatient ones.
pub fn destinations(all: &[(&str, u16, &str)]) -> BTreeMap<String, Destination> {
    all.iter().map(|(name, port, more)| ((*name).to_owned(), destination(*port, more))).collect()
}

fn destination(port: u16, more: &str) -> Destination {
    let mut table: toml::Table =
        toml::from_str("ae_title = 'PACS'\nhost = '127.0.0.1'\ntimeout_s = 20\nretry_s = 0.05\nmax_retry_s = 0.4")
            .unwrap();
    table.insert("port".into(), i64::from(port).into());
    table.extend(more.parse::<toml::Table>().unwrap());
    table.try_into().unwrap()
}

/// A port before another one: the first connection is cut after that many bytes to the peer, later ones are whole.
pub async fn cut_once(port: u16, after_bytes: u64) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut limit = after_bytes;
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let limit = std::mem::replace(&mut limit, u64::MAX);
            tokio::spawn(async move {
                let (from_near, mut to_near) = near.split();
                let (mut from_far, mut to_far) = far.split();
                let mut from_near = tokio::io::AsyncReadExt::take(from_near, limit);
                // Whichever way ends first ends both.
                tokio::select! {
                    _ = tokio::io::copy(&mut from_near, &mut to_far) => {}
                    _ = tokio::io::copy(&mut from_far, &mut to_near) => {}
                }
            });
        }
    });
    ours
}

/// What the awkward peer said about one object.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Said {
    pub uid: String,
    pub status: Option<u16>,
    #[serde(default)]
    pub syntax: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub pixels: String,
    #[serde(default)]
    pub text: String,
    #[serde(default)]
    pub association: u64,
}

/// A storage SCP by pynetdicom that misbehaves in one way (see `awkward_scp.py`).
pub struct AwkwardPeer {
    pub port: u16,
    said: Mutex<(ChildStdout, Vec<u8>)>,
    child: Child,
    _stdin: Option<ChildStdin>,
}

impl AwkwardPeer {
    /// `None` after a skip.
    pub fn start(mode: &str) -> Option<AwkwardPeer> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deliver/awkward_scp.py");
        let mut child = Command::new(support::python()?)
            .args([script.as_os_str(), mode.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut stdout = child.stdout.take().unwrap();
        let mut first = Vec::new();
        while first.last() != Some(&b'\n') {
            let mut byte = [0];
            stdout.read_exact(&mut byte).expect("the peer says where it listens");
            first.extend(byte);
        }
        let first = String::from_utf8(first).unwrap();
        let port = first.trim_end().strip_prefix("listening ").expect(&first).parse().unwrap();
        rustix::fs::fcntl_setfl(&stdout, OFlags::NONBLOCK).unwrap();
        Some(AwkwardPeer { port, said: Mutex::new((stdout, Vec::new())), _stdin: child.stdin.take(), child })
    }

    /// The objects that it has heard of so far. It says each before it answers, and what it said is read here and not
    /// beside: all that was answered is among them.
    pub fn said(&self) -> Vec<Said> {
        let (stdout, text) = &mut *self.said.lock().unwrap();
        match stdout.read_to_end(text) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("what the peer says can be read: {error}"),
            _ => {}
        }
        // The last one may be half there.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}: {line:?}"))).collect()
    }

    /// Waits until the peer has heard of this many objects.
    pub async fn until_said(&self, objects: usize) -> Vec<Said> {
        let end = Instant::now() + SOON;
        while self.said().len() < objects {
            assert!(Instant::now() < end, "the peer heard of {:?}", self.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.said()
    }
}

impl Drop for AwkwardPeer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// DCMTK's storescp, writing into a folder.
pub struct Storescp {
    pub port: u16,
    pub folder: PathBuf,
    child: Child,
}

impl Storescp {
    /// `None` after a skip. Returns once it accepts connections.
    pub fn start(port: u16, folder: &Path, options: &[&str]) -> Option<Storescp> {
        std::fs::create_dir_all(folder).unwrap();
        let child = Command::new(support::require_peer("storescp")?)
            .env("TCP_NODELAY", "1")
            .args(["-q", "-aet", "PACS", "+B", "-od"])
            .arg(folder)
            .args(options)
            .arg(port.to_string())
            .spawn()
            .expect("storescp starts");
        let storescp = Storescp { port, folder: folder.to_owned(), child };
        support::wait_until("storescp listens", SOON, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Some(storescp)
    }

    /// Names of the files that it wrote.
    pub fn stored(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Storescp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
