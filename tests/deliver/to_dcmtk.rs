//! DCMTK's storescp as the PACS: bytes arrive as they are; refusals and aborts pass; a dead destination is found
//! alive again.

use std::path::Path;

use dicom_dictionary_std::uids;
use fcdd::deliver::dicom_file::DicomFile;
use fcdd::ledger::StudyState;
use fcdd::ledger::outbox::OutboxStatus;

use crate::bench::{Bench, Storescp, destinations};
use crate::support;

const STUDY: &str = "1.2.3";

fn dataset(path: &Path) -> Vec<u8> {
    DicomFile::open(path).unwrap().dataset(uids::EXPLICIT_VR_LITTLE_ENDIAN).unwrap()
}

#[tokio::test]
async fn the_files_arrive_byte_for_byte() {
    let bench = Bench::new().await;
    let Some(pacs) = Storescp::start(support::free_port(), &bench.spool().join("pacs"), &[]) else { return };
    let to = destinations(&[("pacs", pacs.port, "")]);
    bench.report(STUDY, 20, &to).await;
    let delivering = bench.deliver(&to);
    let details = bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    let stored = pacs.stored();
    assert_eq!(stored.len(), 21);
    for object in &details.objects {
        let uid = object.sop_instance_uid.as_str();
        let copy = stored.iter().find(|path| path.to_string_lossy().ends_with(&format!(".{uid}")));
        let copy = copy.unwrap_or_else(|| panic!("{uid} is missing among {stored:?}"));
        assert!(dataset(copy) == dataset(&bench.spool().join(&object.path)), "{uid} changed on its way");
    }
}

#[tokio::test]
async fn a_small_maximum_pdu_is_respected() {
    let bench = Bench::new().await;
    let Some(pacs) = Storescp::start(support::free_port(), &bench.spool().join("pacs"), &["--max-pdu", "4096"]) else {
        return;
    };
    let to = destinations(&[("pacs", pacs.port, "")]);
    bench.report(STUDY, 2, &to).await;
    let delivering = bench.deliver(&to);
    bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    assert_eq!(pacs.stored().len(), 3);
}

/// Refusing, aborting and being away are passing: the results wait, and follow when the PACS is itself again.
#[tokio::test]
async fn what_waits_follows_at_once_when_the_pacs_is_back() {
    for trouble in ["--refuse", "--abort-during", "--abort-after"] {
        let bench = Bench::new().await;
        let port = support::free_port();
        let Some(bad) = Storescp::start(port, &bench.spool().join("bad"), &[trouble]) else { return };
        let to = destinations(&[("pacs", port, "")]);
        let delivering = bench.deliver(&to);
        bench.report(STUDY, 2, &to).await;
        bench.report("1.2.4", 0, &to).await;
        let heard =
            |d: &fcdd::ledger::overview::StudyDetails| d.objects.iter().any(|o| !o.deliveries[0].last_error.is_empty());
        for study in [STUDY, "1.2.4"] {
            let details = bench.until_details(trouble, study, heard).await;
            let statuses: Vec<_> = details.objects.iter().map(|o| o.deliveries[0].status).collect();
            assert!(statuses.iter().all(|s| *s == OutboxStatus::Waiting), "{trouble}: {statuses:?}");
        }
        drop(bad);
        let Some(good) = Storescp::start(port, &bench.spool().join("good"), &[]) else { return };
        for study in [STUDY, "1.2.4"] {
            bench.until(study, StudyState::Delivered).await;
        }
        delivering.stop().await;
        assert_eq!(good.stored().len(), 4, "{trouble}");
    }
}

#[tokio::test]
async fn a_destination_that_is_not_there_is_waited_for_without_spinning() {
    let bench = Bench::new().await;
    let port = support::free_port();
    let to = destinations(&[("pacs", port, "")]);
    bench.report(STUDY, 1, &to).await;
    let delivering = bench.deliver(&to);
    let refused = |d: &fcdd::ledger::overview::StudyDetails| {
        d.objects.iter().all(|o| o.deliveries[0].last_error.contains("cannot connect"))
    };
    let details = bench.until_details("the refused connection", STUDY, refused).await;
    assert!(details.objects.iter().all(|o| o.deliveries[0].attempts == 0), "the objects are not to blame");
    let Some(pacs) = Storescp::start(port, &bench.spool().join("pacs"), &[]) else { return };
    bench.until(STUDY, StudyState::Delivered).await;
    delivering.stop().await;
    assert_eq!(pacs.stored().len(), 2);
}
