//! Studies and a model that cost next to nothing: a phantom of 38 coarse slices, and one narrow network of random
//! weights. A start takes a quarter of a second, and the study still goes through every stage: it has a heatmap per
//! slice, a card and a report to deliver.

use std::path::Path;

use fcdd::phantom::{self, Protocol, Subject, SubjectOptions};
use sha2::{Digest, Sha256};

use crate::scripted_peer::split_file;
use crate::support::{Configuration, fcdd};

/// Slices of a series.
const SLICES: usize = 38;

/// A study in memory, as a modality would send it.
pub struct Study {
    pub study_uid: String,
    pub objects: Vec<Object>,
}

/// One MR image.
pub struct Object {
    pub sop_instance_uid: String,
    /// In Explicit VR Little Endian.
    pub dataset: Vec<u8>,
    pub dataset_sha256: [u8; 32],
}

impl Object {
    pub fn new(sop_instance_uid: &str, dataset: Vec<u8>) -> Object {
        let dataset_sha256 = Sha256::digest(&dataset).into();
        Object { sop_instance_uid: sop_instance_uid.to_owned(), dataset, dataset_sha256 }
    }
}

impl Study {
    /// The study of a seed: one T1.
    pub fn new(seed: u64) -> Study {
        Study::of(seed, &[Protocol::t1_sag111()])
    }

    /// The same with a FLAIR, which no model looks at.
    pub fn with_flair(seed: u64) -> Study {
        Study::of(seed, &[Protocol::t1_sag111(), Protocol::flair_tse3dvfl()])
    }

    fn of(seed: u64, protocols: &[Protocol]) -> Study {
        let options = SubjectOptions { seed, anatomy_step_mm: 3.0, ..SubjectOptions::default() };
        let subject = Subject::new(&options).expect("the options are good");
        let coarse: Vec<Protocol> = protocols.iter().map(|p| p.clone().at_spacing_mm([5.0; 3])).collect();
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let written = phantom::dicom::write_study(&subject, &coarse, folder.path()).expect("it can be written");
        let object = |path: &Path| {
            let file = std::fs::read(path).expect("the phantom can be read");
            let (_, sop_instance_uid, _, dataset) = split_file(&file);
            Object::new(&sop_instance_uid, dataset.to_vec())
        };
        let objects: Vec<Object> = written.files().map(object).collect();
        assert_eq!(objects.len(), SLICES * protocols.len());
        Study { study_uid: written.study_uid.to_string(), objects }
    }

    /// Result objects that a study has: a heatmap per slice of its T1, the card, the report.
    pub const RESULTS: usize = SLICES + 2;
}

/// A configuration with the cheap model, written below its directory.
pub fn cheap_configuration() -> Configuration {
    let configuration = Configuration::new();
    let model = configuration.directory().join("model");
    let output = fcdd([
        "export".as_ref(),
        "--architecture".as_ref(),
        "resnet10".as_ref(),
        "--width".as_ref(),
        "4".as_ref(),
        "--input".as_ref(),
        "40,48,40".as_ref(),
        "--spacing".as_ref(),
        "4".as_ref(),
        "--sequence".as_ref(),
        "t1".as_ref(),
        "--random-init".as_ref(),
        "1".as_ref(),
        "--output".as_ref(),
        model.as_os_str(),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let model = model.to_str().expect("test paths are UTF-8").to_owned();
    configuration.set("analyze.models", vec![model]).set("observe.log", "info,ort=warn,sqlx=warn")
}
