//! A model that is not what its manifest says does not start the engine, and the sentence says why.

use fcdd::analyze::{AnalyzeError, Engine};
use fcdd::config::Device;
use fcdd::network::{ModelFolder, onnx_model, random_init};
use fcdd::study::Sequence;

use crate::analysis::{INPUT, engine, manifest, random_model, settings, spec};

fn refusal(settings: &fcdd::config::Analyze) -> String {
    let error = Engine::load(settings).unwrap_err();
    eprintln!("{error}");
    error.to_string()
}

#[test]
fn the_sentence_says_what_is_wrong() {
    let models = tempfile::tempdir().unwrap();
    let good = random_model(models.path(), manifest(Sequence::T1, false), &[1]);
    if engine(&settings(std::slice::from_ref(&good))).is_none() {
        return;
    }

    // Two models for one sequence.
    let other = random_model(models.path(), manifest(Sequence::T1, false), &[2]);
    let error = Engine::load(&settings(&[good.clone(), other])).unwrap_err();
    assert!(matches!(error, AnalyzeError::TwoModels { sequence: Sequence::T1, .. }), "{error}");

    // A graph for another input than the manifest promises: the digests are right, the shapes are not.
    let spec = spec();
    let smaller = [64, INPUT[1], INPUT[2]];
    let file = onnx_model(&spec, &random_init(&spec, 1), smaller, &Default::default()).unwrap();
    let mismatched = models.path().join("mismatched");
    ModelFolder::write(&mismatched, manifest(Sequence::T1, false), &[file]).unwrap();
    let text = refusal(&settings(&[mismatched]));
    assert!(text.contains("64") && text.contains("80") && text.contains("fold_0.onnx"), "{text}");

    // A file that was changed after the manifest was written.
    let onnx = good.join("fold_0.onnx");
    let mut bytes = std::fs::read(&onnx).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&onnx, bytes).unwrap();
    let text = refusal(&settings(std::slice::from_ref(&good)));
    assert!(text.contains("fold_0.onnx") && text.contains("SHA-256"), "{text}");
}

#[test]
fn a_gpu_that_is_named_and_not_there_is_an_error() {
    let models = tempfile::tempdir().unwrap();
    let model = random_model(models.path(), manifest(Sequence::T1, false), &[1]);
    if engine(&settings(std::slice::from_ref(&model))).is_none() {
        return;
    }
    // No machine has a hundred of them.
    let text = refusal(&fcdd::config::Analyze { device: Device::Cuda(99), ..settings(&[model]) });
    assert!(text.contains("CUDA:99"), "{text}");
    assert!(!text.contains("OpenVINO"), "nothing else may be tried: {text}");
}
