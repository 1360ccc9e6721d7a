//! A study of 8,000 slices: a T1 and a FLAIR among functional and diffusion series of thousands of small slices and
//! hundreds of localizers. It is received at one pace from the first slice to the last, is one study with one result,
//! and takes neither long nor much memory; who asks for it has an answer at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use crate::kill::{Object, SentLog, Sink, Study, cheap_configuration, compare, store};
use crate::scripted_peer::{EXPLICIT_LE, Peer};
use crate::support::{Daemon, Exit, fcdd, require_onnxruntime};

const PATIENCE: Duration = Duration::from_secs(120);
const SLICES: usize = 8_000;
const ASSOCIATIONS: usize = 4;
const QUIET_S: f64 = 1.0;
/// From the last slice to the last result, without the quiet period: an unoptimized program on a busy machine too.
const LONGEST: Duration = Duration::from_secs(40);
/// More than the same daemon has in its peak with the 76 slices of T1 and FLAIR alone.
const MOST_MIB: u64 = 200;

#[test]
fn is_borne_in_time_and_memory() {
    let Some(_) = require_onnxruntime() else { return };
    let sink = Sink::start();
    let configuration =
        cheap_configuration().set("assemble.quiet_s", QUIET_S).destination("sink", Sink::AE_TITLE, sink.port);
    let mut daemon = Daemon::start(configuration);
    let address = ([127, 0, 0, 1], daemon.port()).into();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sent = SentLog::default();

    let small = Arc::new(Study::with_flair(40));
    runtime.block_on(receive(address, &small, &sent));
    daemon.wait_for_state(&small.study_uid, "delivered", PATIENCE);
    let peak_before = peak_mib(&daemon);

    let study = Arc::new(large(41));
    let quarters = runtime.block_on(receive(address, &study, &sent));
    let received = Instant::now();
    let delivered = format!("study delivered study_uid={}", study.study_uid);
    daemon.wait_for_log(&delivered, PATIENCE);
    let took = received.elapsed().saturating_sub(Duration::from_secs_f64(QUIET_S));
    let peak = peak_mib(&daemon);

    let configuration = daemon.configuration_file();
    let configuration = configuration.to_str().unwrap();
    let asked = |arguments: &[&str]| {
        let begun = Instant::now();
        let output = fcdd(arguments.iter().copied().chain(["--config", configuration]));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        begun.elapsed()
    };
    let uid = study.study_uid.as_str();
    let answers = [
        asked(&["studies", "show", uid]),
        asked(&["studies", "show", uid, "--json"]),
        asked(&["studies", "list"]),
        asked(&["deliveries"]),
        asked(&["associations"]),
        asked(&["status"]),
    ];
    println!(
        "received by quarters {quarters:.1?}; complete to delivered {took:.1?}; peak {peak} MiB, {peak_before} MiB with \
         76 slices; answers {answers:.0?}"
    );
    let details = daemon.study(uid).unwrap();
    let instances: u64 = details["series"].as_array().unwrap().iter().map(|s| s["instances"].as_u64().unwrap()).sum();
    assert_eq!(instances, SLICES as u64);
    let chosen = details["verdicts"].as_array().unwrap().iter().filter(|v| v["chosen"] == true).count();
    assert_eq!(chosen, 2, "T1 and FLAIR were found among the rest");
    assert!(quarters[3] < 2 * quarters[1] + Duration::from_secs(1), "the last slices take longer: {quarters:.1?}");
    assert!(took < LONGEST, "{took:.1?}");
    assert!(peak < peak_before + MOST_MIB, "{peak} MiB, {peak_before} MiB before");
    assert!(answers.iter().all(|answer| *answer < Duration::from_secs(5)), "{answers:.1?}");

    let (exit, stopped) = daemon.stop(PATIENCE);
    assert_eq!(exit, Exit::Status(0));
    let uids = [small.study_uid.clone(), study.study_uid.clone()];
    let findings = compare(&stopped.spool(), &uids, &sent, &sink);
    let wrong: Vec<&String> = [&findings.lost, &findings.doubled, &findings.stuck].into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(findings.acknowledged, SLICES + small.objects.len());
}

/// The most memory that a process has had (`VmHWM`), MiB.
fn peak_mib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") >> 10
}

/// Sends a study over a few associations; how long each quarter of it took.
async fn receive(address: SocketAddr, study: &Arc<Study>, sent: &SentLog) -> [Duration; 4] {
    let begun = Instant::now();
    let (answered, quarter) = (Arc::new(AtomicUsize::new(0)), study.objects.len() / 4);
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..ASSOCIATIONS {
        let (study, sent, answered) = (study.clone(), sent.clone(), answered.clone());
        sending.spawn(async move {
            let mut peer = Peer::associated(address).await;
            let mut ends = Vec::new();
            for place in (number..study.objects.len()).step_by(ASSOCIATIONS) {
                assert!(store(&mut peer, &study, place, &sent).await, "the association lasts");
                let answered = answered.fetch_add(1, Ordering::Relaxed) + 1;
                if answered % quarter == 0 {
                    ends.push(begun.elapsed());
                }
            }
            peer.release().await;
            ends
        });
    }
    let mut ends: Vec<Duration> = sending.join_all().await.into_iter().flatten().collect();
    ends.sort_unstable();
    std::array::from_fn(|i| ends[i] - if i == 0 { Duration::ZERO } else { ends[i - 1] })
}

/// A T1 and a FLAIR, and what else a long examination makes, in small.
fn large(seed: u64) -> Study {
    let mut study = Study::with_flair(seed);
    let explicit = TransferSyntaxRegistry.get(EXPLICIT_LE).expect("it is known");
    let template = InMemDicomObject::read_dataset_with_ts(study.objects[0].dataset.as_slice(), explicit).unwrap();
    let mut images = Images { template, study_uid: study.study_uid.clone(), series: 0, objects: Vec::new() };
    images.functional(40, 100);
    images.functional(45, 60);
    while study.objects.len() + images.objects.len() < SLICES {
        let left = SLICES - study.objects.len() - images.objects.len();
        images.localizer(left.min(4));
    }
    study.objects.extend(images.objects);
    study
}

struct Images {
    template: InMemDicomObject,
    study_uid: String,
    series: usize,
    objects: Vec<Object>,
}

impl Images {
    /// A series of the same slices again and again.
    fn functional(&mut self, slices: usize, times: usize) {
        self.series += 1;
        for time in 0..times {
            for slice in 0..slices {
                let number = time * slices + slice;
                self.image(number, slice, |image| {
                    put(image, tags::SERIES_DESCRIPTION, VR::LO, "ep2d_bold_rest");
                    put(image, tags::SCANNING_SEQUENCE, VR::CS, "EP");
                    put(image, tags::TEMPORAL_POSITION_IDENTIFIER, VR::IS, &(time + 1).to_string());
                });
            }
        }
    }

    fn localizer(&mut self, slices: usize) {
        self.series += 1;
        for slice in 0..slices {
            self.image(slice, slice, |image| put(image, tags::SERIES_DESCRIPTION, VR::LO, "localizer"));
        }
    }

    /// A slice of 16 x 16 pixels of the series at hand.
    fn image(&mut self, number: usize, slice: usize, change: impl FnOnce(&mut InMemDicomObject)) {
        let mut image = self.template.clone();
        let series_uid = format!("{}.{}", self.study_uid, self.series);
        let sop_instance_uid = format!("{series_uid}.{}", number + 1);
        put(&mut image, tags::SERIES_INSTANCE_UID, VR::UI, &series_uid);
        put(&mut image, tags::SOP_INSTANCE_UID, VR::UI, &sop_instance_uid);
        put(&mut image, tags::SERIES_NUMBER, VR::IS, &(100 + self.series).to_string());
        put(&mut image, tags::INSTANCE_NUMBER, VR::IS, &(number + 1).to_string());
        put(&mut image, tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("{}\\0\\0", 4 * slice));
        image.put(DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(16_u16)));
        image.put(DataElement::new(tags::COLUMNS, VR::US, PrimitiveValue::from(16_u16)));
        let pixels: Vec<u16> = (0..256).map(|i| (i + number) as u16 % 4096).collect();
        image.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
        change(&mut image);
        let explicit = TransferSyntaxRegistry.get(EXPLICIT_LE).expect("it is known");
        let mut dataset = Vec::new();
        image.write_dataset_with_ts(&mut dataset, explicit).expect("it can be written");
        self.objects.push(Object::new(&sop_instance_uid, dataset));
    }
}

fn put(image: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    image.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
}
