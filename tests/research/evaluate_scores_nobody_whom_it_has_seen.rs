//! `fcdd admin evaluate`: a subject on whom a model was trained is scored only by the network that tested it, a new one
//! by all networks together; where the right network is not in the model, the command refuses and writes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fcdd::analyze::preprocess::{self, InputSpec};
use fcdd::analyze::runtime;
use fcdd::analyze::session::{GraphShapes, ModelSessions};
use fcdd::config::Device;
use fcdd::network::ModelFolder;
use fcdd::network::manifest::Precision;
use fcdd::research::run::folder::{Part, Prediction};
use fcdd::volume::Volume;
use serde_json::Value;

use crate::archive::{write_flair, write_participants};
use crate::finished_run::{FinishedRun, SUBJECTS, admin, finished_run, head_with_lesion, text};
use crate::untrained_run::id;

fn evaluate(made: &FinishedRun, model: &Path, archive: &Path, output: &Path, status: i32) -> [String; 2] {
    let [model, archive, output, cache] = [model, archive, output, &made.cache].map(text);
    admin(["evaluate", "--model", model, "--archive", archive, "--output", output, "--cache", cache], status)
}

fn metrics(output: &Path) -> Value {
    serde_json::from_slice(&fs::read(output.join("metrics.json")).unwrap()).unwrap()
}

/// What serving would say of a head: mean over the model's networks, calibrated.
fn served(model: &ModelFolder, head: &Volume) -> [f64; 2] {
    let manifest = model.manifest();
    let spec = InputSpec {
        shape: manifest.input.shape,
        spacing_mm: manifest.input.spacing_mm,
        background: manifest.input.background as f32,
    };
    let files: Vec<(String, Vec<u8>)> =
        (0..model.folds()).map(|fold| (format!("{fold}"), model.fold_bytes(fold).unwrap())).collect();
    let shapes = GraphShapes { input: manifest.input.shape, map: manifest.map.shape };
    let fp32 = [Precision::Fp32].into();
    let environment = runtime::environment(None).unwrap();
    let mut sessions = ModelSessions::open(
        &environment,
        "test",
        &files,
        shapes,
        &fp32,
        &fcdd::analyze::runtime::Provider::candidates(Device::Cpu),
        2,
    )
    .unwrap();
    let outputs = sessions.run(preprocess::prepare(head, &spec).unwrap().tensor.view()).unwrap();
    let logit = outputs.iter().map(|output| output.logit).sum::<f64>() / outputs.len() as f64;
    [logit, manifest.calibration.probability(logit)]
}

#[test]
fn who_was_trained_on_is_scored_out_of_fold_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(made) = finished_run(folder) else { return };
    let model = folder.join("model");
    admin(["export", text(made.run.path()), "--output", text(&model)], 0);

    // The archive grows by one whom nobody has seen.
    let [new, _] = head_with_lesion(99);
    let table = made.archive.join("participants.tsv");
    let grown = fs::read_to_string(&table).unwrap() + "sub-new\thc\tF\t7\r\n";
    fs::write(&table, grown).unwrap();
    write_flair(&made.archive, "sub-new", "20619", &new);
    let output = folder.join("report");
    let [said, _] = evaluate(&made, &model, &made.archive, &output, 0);
    assert!(said.contains("synthetic subjects"), "{said}");
    let found = metrics(&output);
    let tests: BTreeMap<String, Prediction> = (0..2)
        .flat_map(|fold| made.run.fold(fold).predictions().unwrap())
        .filter(|row| row.part == Part::Test)
        .map(|row| (row.subject.clone(), row))
        .collect();
    let mut ensembles = 0;
    for subject in found["metrics"]["per_subject"].as_array().unwrap() {
        let (name, logit) = (subject["subject"].as_str().unwrap(), subject["logit"].as_f64().unwrap());
        if let Some(row) = tests.get(name) {
            assert_eq!(subject["fold"], row.fold);
            assert!((logit - row.logit()).abs() < 1e-6, "{name}: {logit} instead of {}", row.logit());
        } else {
            ensembles += 1;
            let expected = served(&ModelFolder::load(&model).unwrap(), &new);
            assert!(subject["fold"].is_null() && (logit - expected[0]).abs() < 1e-6, "{subject} {expected:?}");
            assert!((subject["probability"].as_f64().unwrap() - expected[1]).abs() < 1e-6, "{subject} {expected:?}");
        }
    }
    assert_eq!((ensembles, tests.len()), (1, SUBJECTS));
    let said = found["scored_by"].as_str().unwrap();
    assert!(said.contains("1 were scored by all 2 networks") && said.contains("trained on 24"), "{said}");
    assert!(found["metrics"]["heat"]["lesion"]["defined"].as_u64().unwrap() > 0);
    let page = fs::read_to_string(output.join("report.html")).unwrap();
    assert!(page.contains("Synthetic subjects") && page.contains("data:image/png") && !page.contains("https://"));
    assert!(page.contains("fitted on out-of-fold logits, also those of the 24"), "what is too good is said");

    // A model without fold 1: its network trained on those whom fold 1 tested.
    let predictions = made.run.fold(1).predictions_path();
    fs::remove_file(&predictions).unwrap();
    let part = folder.join("part");
    admin(["export", text(made.run.path()), "--output", text(&part), "--folds-present"], 0);
    let refused = folder.join("refused");
    let [_, error] = evaluate(&made, &part, &made.archive, &refused, 1);
    assert!(error.contains("trained on 12 of these subjects") && error.contains(&id(1)), "{error}");
    assert!(!error.contains(&id(0)) && !refused.exists(), "{error}");
    // Nor may a report replace a run's figures.
    let [_, error] = evaluate(&made, &model, &made.archive, made.run.path(), 2);
    assert!(error.contains("another --output"), "{error}");

    what_cannot_be_scored_is_said(&made, &model, folder);
}

fn what_cannot_be_scored_is_said(made: &FinishedRun, model: &Path, folder: &Path) {
    // The model is for FLAIR, that one for T1.
    let untrained = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-t1");
    let [_, error] = evaluate(made, &untrained, &made.archive, &folder.join("t1"), 1);
    assert!(error.contains("demo-t1 is for T1") && error.contains("25 of FLAIR"), "{error}");

    // Controls only, under names that the model does not know.
    let controls = folder.join("controls");
    fs::create_dir(&controls).unwrap();
    write_participants(&controls, &[["sub-a", "hc", "F", "7"], ["sub-b", "hc", "M", "8"]]);
    for (id, seed) in [("sub-a", 50), ("sub-b", 51)] {
        let [head, _] = head_with_lesion(seed);
        write_flair(&controls, id, "1", &head);
    }
    let output = folder.join("one-class");
    evaluate(made, model, &controls, &output, 0);
    let found = metrics(&output);
    assert!(found["metrics"]["auc"]["pooled"].is_null() && found["confounds"]["passed"] == false);
    assert!(found["metrics"]["heat"].is_null() && found["synthetic"] == false, "{found}");
    let page = fs::read_to_string(output.join("report.md")).unwrap();
    assert!(page.contains("There are only controls") && page.contains("undefined") && !page.contains("NaN"), "{page}");
    assert!(page.contains("No dataset_description.json says"), "{page}");

    // Nothing that could be read.
    for id in ["sub-a", "sub-b"] {
        fs::write(controls.join(id).join("anat").join(format!("{id}_acq-T2sel_FLAIR.nii.gz")), b"no volume").unwrap();
    }
    let [_, error] = evaluate(made, model, &controls, &folder.join("nothing"), 1);
    assert!(error.contains("no scan that can be used") || error.contains("scan of"), "{error}");
}
