//! A provider that loads, warms up, and fails on a study: the study gets a report that says so, and no other provider is
//! tried unless the configuration asks for it; then the next one is, loudly.
//!
//! The network here is finite on the zeros of the warm-up and infinite on a head, on every provider: so the switch is
//! seen to be made, and the end of the list to be a failure. (No graph is known that fails on one of the providers of
//! every test machine alone.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fcdd::analyze::runtime::Provider;
use fcdd::analyze::{AnalyzeError, Engine};
use fcdd::config::{self, Device};
use fcdd::network::weights::Weights;
use fcdd::network::{ModelFolder, onnx_model, random_init};
use fcdd::study::Sequence;

use crate::analysis::{INPUT, axial, engine, manifest, settings, spec, study, subject};

/// A model whose classifier overflows on anything that it sees.
fn overflowing_model(parent: &Path) -> PathBuf {
    let spec = spec();
    let mut tensors: BTreeMap<_, _> = random_init(&spec, 1).tensors().clone();
    let classifier = tensors.get_mut("fc.weight").expect("the classifier has this name");
    classifier.data.iter_mut().for_each(|weight| *weight = 3e38);
    let weights = Weights::new(&spec, tensors).unwrap();
    let file = onnx_model(&spec, &weights, INPUT, &Default::default()).unwrap();
    let path = parent.join("overflowing");
    ModelFolder::write(&path, manifest(Sequence::Flair, true), &[file]).unwrap();
    path
}

#[test]
fn it_is_the_only_one_unless_asked_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let model = overflowing_model(folder.path());
    let strict = config::Analyze { device: Device::Cpu, ..settings(std::slice::from_ref(&model)) };
    let Some(engine) = engine(&strict) else { return };
    let first = engine.models()[0].provider.clone();
    let study = study(None, Some(subject(axial(), None)));
    let error = engine.analyze(&study).unwrap_err();
    assert!(matches!(error, AnalyzeError::Session(_)), "{error}");
    assert!(error.to_string().contains("not finite"), "{error}");
    assert_eq!(engine.models()[0].provider, first, "nothing was switched");

    let lenient = config::Analyze { fall_back_in_mid_run: true, ..strict };
    let engine = Engine::load(&lenient).unwrap();
    let error = engine.analyze(&study).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
    let now = engine.models()[0].provider.clone();
    let last = Provider::candidates(Device::Cpu).last().unwrap().to_string();
    assert_eq!(now, last, "every provider that the setting allows was tried; it began with {first}");
}

#[test]
fn what_comes_next_is_what_the_device_setting_allows() {
    assert_eq!(Provider::OpenVino.candidates_after(Device::Cpu), [Provider::Cpu]);
    assert_eq!(Provider::Cpu.candidates_after(Device::Cpu), []);
    assert_eq!(Provider::Cuda(0).candidates_after(Device::Auto), [Provider::OpenVino, Provider::Cpu]);
    assert_eq!(Provider::Cuda(1).candidates_after(Device::Cuda(1)), [], "a device that was named is the only one");
}
