//! The comparison of all books: what the sender was told is safe, what the spool has, what the ledger says and what the
//! PACS has kept. Each finding is a sentence; a scenario wants none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use fcdd::dicom::Uid;
use fcdd::ledger::overview::StudyDetails;
use fcdd::ledger::{Ledger, StudyState};
use fcdd::study::ObjectKind;
use sha2::{Digest, Sha256};

use super::cheap::Study;
use super::evidence::with_copy;
use super::sender::SentLog;
use super::sink::{Kept, Sink};
use crate::scripted_peer::split_file;
use crate::support::files_below;

/// What the books do not agree on.
#[derive(Debug, Default)]
pub struct Findings {
    /// Acknowledged to a sender, and not there byte for byte; rendered, and not with the PACS.
    pub lost: Vec<String>,
    /// In the PACS under another UID, or with other bytes; received, and there twice.
    pub doubled: Vec<String>,
    /// Not at its end, or left lying about.
    pub stuck: Vec<String>,
    /// Objects that senders were told are safe.
    pub acknowledged: usize,
    /// Result objects that the PACS has.
    pub delivered: usize,
    /// How often the PACS got a result, with the same bytes, that it had already: the kill came before its row.
    pub sent_again: u64,
    /// Associations that the ledger calls lost.
    pub associations_lost: usize,
}

/// Compares the books of a daemon that is not running.
pub fn compare(spool: &Path, studies: &[String], sent: &SentLog, sink: &Sink) -> Findings {
    let mut findings = Findings::default();
    what_was_acknowledged(spool, sent, &mut findings);
    let kept = sink.kept();
    with_copy(spool, async |ledger: Ledger| {
        let mut known = BTreeSet::new();
        for study_uid in studies {
            let uid = Uid::parse(study_uid).expect("a UID");
            match ledger.show_study(&uid).await {
                Ok(details) => {
                    what_was_delivered(spool, &details, &kept, &mut findings);
                    known.extend(details.objects.iter().map(|o| o.sop_instance_uid.to_string()));
                }
                Err(error) => findings.lost.push(error.to_string()),
            }
        }
        for uid in kept.keys().filter(|uid| !known.contains(*uid)) {
            findings.doubled.push(format!("the PACS has {uid}, which is no result that the ledger knows"));
        }
        let associations = ledger.list_associations(u32::MAX).await.expect("the ledger can be read");
        findings.associations_lost = associations.iter().filter(|a| a.outcome.as_deref() == Some("lost")).count();
        for association in associations.iter().filter(|a| a.closed_at.is_none()) {
            findings.stuck.push(format!("association {} is still open", association.id));
        }
    });
    for place in ["incoming", "quarantine"] {
        for file in files_below(&spool.join(place)) {
            findings.stuck.push(format!("{} is left over", file.display()));
        }
    }
    findings
}

fn what_was_acknowledged(spool: &Path, sent: &SentLog, findings: &mut Findings) {
    let mut safe = HashMap::new();
    for answered in sent.answers() {
        if answered.status == 0 {
            safe.insert(answered.sop_instance_uid.clone(), answered);
        } else {
            findings.stuck.push(format!("{} was answered {:04X}H", answered.sop_instance_uid, answered.status));
        }
    }
    findings.acknowledged = safe.len();
    let studies = spool.join("studies");
    for answered in safe.values() {
        let path = studies.join(&answered.study_uid).join(format!("{}.dcm", answered.sop_instance_uid));
        match std::fs::read(&path) {
            Ok(file) => {
                let (_, sop_instance_uid, _, dataset) = split_file(&file);
                let same = <[u8; 32]>::from(Sha256::digest(dataset)) == answered.dataset_sha256;
                if !same || sop_instance_uid != answered.sop_instance_uid {
                    findings.lost.push(format!("{} holds other bytes than were sent", path.display()));
                }
            }
            Err(error) => findings.lost.push(format!("{} was acknowledged: {error}", path.display())),
        }
    }
    for file in files_below(&studies) {
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !safe.contains_key(name) {
            findings.doubled.push(format!("{} is nothing that was sent to its end", file.display()));
        }
    }
}

fn what_was_delivered(spool: &Path, details: &StudyDetails, kept: &BTreeMap<String, Kept>, findings: &mut Findings) {
    let study = &details.study;
    if study.state != StudyState::Delivered {
        findings.stuck.push(format!("study {} is {} ({})", study.study_uid, study.state, study.reason));
    }
    if study.revision != 1 || study.late_instances != 0 {
        let (revision, late) = (study.revision, study.late_instances);
        findings.doubled.push(format!("study {} has revision {revision} and {late} late images", study.study_uid));
    }
    if details.objects.len() != Study::RESULTS {
        findings.lost.push(format!("study {} has {} results", study.study_uid, details.objects.len()));
    }
    let mut places = BTreeSet::new();
    let mut files = BTreeSet::new();
    for object in &details.objects {
        let uid = object.sop_instance_uid.to_string();
        let path = spool.join(&object.path);
        let file = std::fs::read(&path).expect("the ledger's result is in the spool");
        let place = (object.kind.clone(), object.series_uid.to_string(), instance_number(&path));
        if !places.insert(place.clone()) {
            findings.doubled.push(format!("study {} has two results at {place:?}", study.study_uid));
        }
        match kept.get(&uid) {
            None => findings.lost.push(format!("{uid} is not in the PACS")),
            Some(kept) => {
                findings.delivered += 1;
                findings.sent_again += kept.times.saturating_sub(1);
                let same = <[u8; 32]>::from(Sha256::digest(split_file(&file).3)) == kept.dataset_sha256;
                if !same || kept.times_other > 0 {
                    findings.doubled.push(format!("{uid} reached the PACS with other bytes"));
                }
            }
        }
        files.insert(path);
    }
    files.insert(spool.join(format!("results/{}/revision-1.json", study.study_uid)));
    for file in files_below(&spool.join("results").join(study.study_uid.as_str())) {
        if !files.contains(&file) {
            findings.stuck.push(format!("{} is left over", file.display()));
        }
    }
    for kind in [ObjectKind::Card, ObjectKind::Report] {
        if places.iter().filter(|(name, ..)| *name == kind.name()).count() != 1 {
            findings.doubled.push(format!("study {} has not one {}", study.study_uid, kind.name()));
        }
    }
}

fn instance_number(path: &Path) -> i32 {
    let file = OpenFileOptions::new().read_until(tags::PIXEL_DATA).open_file(path).expect("a result can be read");
    file.element(tags::INSTANCE_NUMBER).expect("a result has a number").to_int().expect("which is a number")
}
