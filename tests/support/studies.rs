//! Studies: phantoms to send, and what a daemon's ledger says of them (asked as a user would, by `fcdd studies`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use fcdd::phantom::{self, Marker, Plane, Protocol, Scanner, Size, Subject, SubjectOptions};
use serde_json::Value;

use super::daemon::{Daemon, fcdd};
use super::waiting::wait_until;

/// A phantom study (T1 + FLAIR, small) written below `folder`; its Study Instance UID.
pub fn phantom_study(seed: u64, folder: &Path) -> String {
    phantom_study_with(&SubjectOptions { seed, ..SubjectOptions::default() }, None, folder)
}

/// The same with a marker, scanned in a plane.
pub fn marker_study(seed: u64, centre_lps_mm: [f64; 3], radius_mm: f64, plane: Plane, folder: &Path) -> String {
    let marker = Some(Marker { centre_lps_mm, radius_mm });
    phantom_study_with(
        &SubjectOptions { seed, lesion: false, marker, ..SubjectOptions::default() },
        Some(plane),
        folder,
    )
}

fn phantom_study_with(options: &SubjectOptions, plane: Option<Plane>, folder: &Path) -> String {
    let subject = Subject::new(options).expect("the options are good");
    let mut protocols = Protocol::pair(Scanner::ChannelsThirtyTwo, Size::Small);
    if let Some(plane) = plane {
        protocols.iter_mut().for_each(|p| p.plane = plane);
    }
    let study = phantom::dicom::write_study(&subject, &protocols, folder).expect("the study can be written");
    study.study_uid.to_string()
}

/// Writes a model folder with the hand-weighted marker network.
pub fn marker_model(sequence: &str, folder: &Path) -> PathBuf {
    let model = folder.join(format!("marker-{sequence}"));
    let output = fcdd([
        "export".as_ref(),
        "--architecture".as_ref(),
        "resnet10".as_ref(),
        "--width".as_ref(),
        "16".as_ref(),
        "--input".as_ref(),
        "80,96,80".as_ref(),
        "--spacing".as_ref(),
        "2".as_ref(),
        "--sequence".as_ref(),
        sequence.as_ref(),
        "--marker".as_ref(),
        "--output".as_ref(),
        model.as_os_str(),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    model
}

impl Daemon {
    /// What `fcdd studies show` says of a study; `None` when the ledger does not know it.
    pub fn study(&self, study_uid: &str) -> Option<Value> {
        let configuration = self.configuration_file();
        let arguments = [
            "studies".as_ref(),
            "show".as_ref(),
            study_uid.as_ref(),
            "--json".as_ref(),
            "--config".as_ref(),
            configuration.as_os_str(),
        ];
        let output = fcdd(arguments);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("--json prints JSON"))
    }

    /// Every study that `fcdd studies list` names.
    pub fn studies(&self) -> Vec<Value> {
        let configuration = self.configuration_file();
        let output = fcdd([
            "studies".as_ref(),
            "list".as_ref(),
            "--json".as_ref(),
            "--config".as_ref(),
            configuration.as_os_str(),
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("--json prints JSON")
    }

    /// Waits until a study stands in `state`; what `fcdd studies show` says of it then.
    pub fn wait_for_state(&self, study_uid: &str, state: &str, deadline: Duration) -> Value {
        wait_until(&format!("study {study_uid} is {state}"), deadline, || {
            self.study(study_uid).filter(|study| study["state"] == state)
        })
    }
}

/// Writes a DICOM file anew as another object: `change` sees its dataset, the file meta follows the new UIDs.
pub fn rewrite(source: &Path, target: &Path, change: impl FnOnce(&mut dicom_object::InMemDicomObject)) {
    let object = dicom_object::open_file(source).expect("the file can be read");
    let syntax = object.meta().transfer_syntax().to_owned();
    let mut dataset = object.into_inner();
    change(&mut dataset);
    let meta = dicom_object::FileMetaTableBuilder::new().transfer_syntax(syntax);
    dataset.with_meta(meta).expect("the dataset has its UIDs").write_to_file(target).expect("the file can be written");
}
