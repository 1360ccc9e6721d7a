//! Real senders and real data: DCMTK, pynetdicom, and every transfer syntax of the reference data.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fcdd::fuzzing::NoSync;

use crate::scripted_peer::*;
use crate::support::{echoscu, files_below, reference_data, require_peer, run_python, storescu_as};

/// One set per transfer syntax (and encoding oddity) of the reference data.
const SETS: [&str; 10] = [
    "flair-syntax-explicit",
    "flair-syntax-implicit",
    "flair-syntax-j2k",
    "flair-syntax-jpeglossless",
    "flair-syntax-jpegls",
    "flair-syntax-rle",
    "t1-syntax-deflated",
    "t1-syntax-htj2k",
    "t1-syntax-jpeg-divest",
    "enhanced-philips-t1-8frames",
];

/// DICOM files of a set (other files, such as `expected.json`, have no `DICM` at byte 128).
fn dicom_files(folder: &Path) -> Vec<PathBuf> {
    let is_dicom = |path: &PathBuf| std::fs::read(path).is_ok_and(|bytes| bytes.get(128..132) == Some(b"DICM"));
    files_below(folder).into_iter().filter(is_dicom).collect()
}

/// SOP class and instance from the dataset: the file meta groups of anonymised data often say something else.
fn identifiers(dataset: &[u8], transfer_syntax: &str) -> (String, String) {
    let prefix = &dataset[..dataset.len().min(1 << 20)];
    let found = fcdd::dicom::identifying::read_identifiers(prefix, transfer_syntax).expect("a reference file");
    (found.sop_class_uid.to_string(), found.sop_instance_uid.to_string())
}

fn stored(receiver: &Receiver) -> std::collections::BTreeMap<String, Vec<u8>> {
    let files = receiver.files("studies").into_iter().map(|path| std::fs::read(path).expect("it can be read"));
    files.map(|file| (split_file(&file).1, file)).collect()
}

#[tokio::test]
async fn every_transfer_syntax_arrives_byte_for_byte() {
    for set in SETS {
        let Some(folder) = reference_data(set) else { return };
        let files = dicom_files(&folder);
        assert!(!files.is_empty(), "{set} has no DICOM files");
        for path in files {
            // Several files are one SOP instance in different encodings: each has a receiver of its own.
            let receiver = Receiver::start("").await;
            let file = std::fs::read(&path).expect("it can be read");
            let (_, _, transfer_syntax, dataset) = split_file(&file);
            let (sop_class, sop_instance) = identifiers(dataset, &transfer_syntax);
            let mut peer = Peer::connect(receiver.address).await;
            peer.send(&associate_rq("FCDD", "SCRIPT", &[(1, &sop_class, &[&transfer_syntax])])).await;
            assert!(matches!(peer.answer().await, Answer::Pdu(0x02, _)));
            peer.send(&p_data(&[(1, COMMAND_LAST, &store_rq(&sop_class, &sop_instance))])).await;
            peer.send_dataset(1, dataset).await;
            let status = peer.answer().await.status();
            assert_eq!(status, (0, String::new()), "{}", path.display());
            peer.release().await;
            assert_eq!(receiver.receipt().await.stored, 1);
            let received = stored(&receiver);
            let (class_in_file, _, syntax_in_file, received_dataset) = split_file(&received[&sop_instance]);
            assert_eq!((class_in_file, syntax_in_file), (sop_class, transfer_syntax));
            assert!(received_dataset == dataset, "{} was changed", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dcmtk_stores_and_echoes() {
    let receiver = Receiver::start("").await;
    let port = receiver.address.port();
    let Some(echo) = tokio::task::spawn_blocking(move || echoscu("FCDD", port)).await.expect("no panic") else {
        return;
    };
    assert!(echo.success, "{}", echo.log);
    for set in ["flair-syntax-explicit", "flair-syntax-implicit", "enhanced-philips-t1-8frames"] {
        let receiver = Receiver::start("").await;
        let port = receiver.address.port();
        let echo = tokio::task::spawn_blocking(move || echoscu("FCDD", port)).await.expect("no panic");
        let Some(echo) = echo else { return };
        assert!(echo.success, "{}", echo.log);
        let Some(folder) = reference_data(set) else { return };
        let files = dicom_files(&folder);
        let paths = files.clone();
        let send = move || storescu_as("MR1", &paths.iter().map(PathBuf::as_path).collect::<Vec<_>>(), "FCDD", port);
        let Some(sent) = tokio::task::spawn_blocking(send).await.expect("no panic") else { return };
        assert!(sent.success, "{set}: {}", sent.log);
        let received = stored(&receiver);
        for path in files {
            let file = std::fs::read(&path).expect("it can be read");
            let (_, _, transfer_syntax, dataset) = split_file(&file);
            let (_, sop_instance) = identifiers(dataset, &transfer_syntax);
            let copy = received.get(&sop_instance).unwrap_or_else(|| panic!("{} did not arrive", path.display()));
            // DCMTK may encode anew what is not compressed; pixels come last and stay what they are.
            let (_, _, _, received) = split_file(copy);
            let tail = dataset.len().min(received.len()).min(256);
            assert!(received.ends_with(&dataset[dataset.len() - tail..]), "{} was changed", path.display());
        }
        let receipts = receiver.receipts(2).await;
        assert!(receipts.iter().all(|receipt| receipt.outcome.as_deref() == Some("released")), "{receipts:?}");
    }
}

/// Sends the files given after the port as they are (`STORE_SEND_CHUNKED_DATASET`), each twice.
const PYNETDICOM: &str = r#"
import sys
import pydicom
from pynetdicom import AE, _config
_config.STORE_SEND_CHUNKED_DATASET = True
ae = AE(ae_title="PYNET")
for path in sys.argv[2:]:
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    ae.requested_contexts = []
    ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    assoc = ae.associate("127.0.0.1", int(sys.argv[1]), ae_title="FCDD", max_pdu=0)
    assert assoc.is_established
    for _ in range(2):
        print("%04x" % assoc.send_c_store(path).Status)
    assoc.release()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn pynetdicom_sends_files_as_they_are() {
    let receiver = Receiver::start("").await;
    let mut files = Vec::new();
    for set in ["t1-syntax-deflated", "flair-syntax-jpegls"] {
        let Some(folder) = reference_data(set) else { return };
        files.extend(dicom_files(&folder));
    }
    let port = PathBuf::from(receiver.address.port().to_string());
    let arguments: Vec<PathBuf> = std::iter::once(port).chain(files.iter().cloned()).collect();
    let send = move || run_python(PYNETDICOM, &arguments.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let Some(printed) = tokio::task::spawn_blocking(send).await.expect("no panic") else { return };
    assert_eq!(printed.lines().filter(|line| *line == "0000").count(), 2 * files.len(), "{printed}");
    let received = stored(&receiver);
    for path in &files {
        let file = std::fs::read(path).expect("it can be read");
        let (_, _, transfer_syntax, dataset) = split_file(&file);
        let (_, sop_instance) = identifiers(dataset, &transfer_syntax);
        assert!(split_file(&received[&sop_instance]).3 == dataset, "{} was changed", path.display());
    }
    let receipts = receiver.receipts(files.len()).await;
    assert!(receipts.iter().all(|receipt| (receipt.stored, receipt.duplicates) == (1, 1)), "{receipts:?}");
}

/// DCMTK writes each PDU header alone. Where the receiver delays its acknowledgements, each object then waits for
/// 40 ms and more (14 to 19 objects per second were measured elsewhere). Nothing is synced, because this is not about
/// the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_with_nagles_algorithm_does_not_stall() {
    const OBJECTS: u32 = 200;
    let Some(program) = require_peer("storescu") else { return };
    let receiver = Receiver::start_with("", 0, Box::new(NoSync)).await;
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    for number in 0..OBJECTS {
        let sop_instance = format!("1.2.826.0.1.{number}");
        let header = fcdd::spool::received_file::ReceivedHeader {
            sop_class_uid: fcdd::dicom::Uid::parse(MR_IMAGE_STORAGE).expect("a UID"),
            sop_instance_uid: fcdd::dicom::Uid::parse(&sop_instance).expect("a UID"),
            transfer_syntax: EXPLICIT_LE.into(),
            source_ae: String::new(),
        };
        let file = [header.encode(), dataset(&sop_instance, "1.2.826.0.2", 132_000)].concat();
        std::fs::write(folder.path().join(format!("{number}.dcm")), file).expect("it is writable");
    }
    let mut command = Command::new(program);
    command.args(["-R", "+sd", "-aec", "FCDD", "127.0.0.1", &receiver.address.port().to_string()]).arg(folder.path());
    let begun = Instant::now();
    let sent = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("storescu runs");
    let took = begun.elapsed();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let per_second = f64::from(OBJECTS) / took.as_secs_f64();
    println!("{OBJECTS} objects of 132 KB in {took:.2?}: {per_second:.0} per second");
    assert_eq!(receiver.receipt().await.stored, i64::from(OBJECTS));
    assert!(took < Duration::from_millis(25) * OBJECTS, "{per_second:.0} objects per second");
}
