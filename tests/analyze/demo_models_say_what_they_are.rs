//! The demonstration models in the repository: whole, small, and said to be trained on synthetic data only.

use std::path::{Path, PathBuf};

use fcdd::network::{Architecture, ModelFolder};
use fcdd::study::Sequence;

const LARGEST_MB: f64 = 20.0;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

#[test]
fn both_have_five_networks_and_no_scan_of_a_person() {
    let mut bytes = 0;
    for (name, sequence) in [("demo-t1", Sequence::T1), ("demo-flair", Sequence::Flair)] {
        let model = ModelFolder::load(&folder(name)).unwrap();
        let manifest = model.manifest();
        assert_eq!((manifest.name.as_str(), manifest.sequence), (name, sequence));
        assert_eq!(manifest.architecture, Architecture::Resnet10);
        assert_eq!((manifest.input.shape, manifest.input.spacing_mm), ([80, 96, 80], 2.0));
        assert_eq!(model.folds(), 5);
        assert!(manifest.trained && manifest.is_synthetic());
        assert!(manifest.data_source.starts_with("synthetic data only"), "{}", manifest.data_source);
        assert!(manifest.intended_use.contains("synthetic data only"), "{}", manifest.intended_use);
        assert!(manifest.distribution.is_some(), "what is unlike the training could not be told");
        assert!(manifest.calibration.fitted_on.is_some());
        let files = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        bytes += files.sum::<u64>();
    }
    assert!(bytes as f64 / 1e6 <= LARGEST_MB, "{bytes} bytes");
}
