//! A finished run becomes a model folder: checked against the trainer's logits, with everything stated that its
//! numbers need; what does not belong together is refused.

use fcdd::analyze::Engine;
use fcdd::config;
use fcdd::network::ModelFolder;
use fcdd::network::manifest::CalibrationKind;
use fcdd::research::models::export::{ExportError, OUT_OF_FOLD, export};
use fcdd::research::run::folder::write_table;

use crate::research_run::{self, SUBJECTS, request, run, with_metrics};

#[test]
fn what_is_exported_agrees_and_states_its_rules() {
    let folder = tempfile::tempdir().unwrap();
    let Some((run, made_up)) = run(&folder.path().join("run"), 3, 1) else { return };
    with_metrics(&run, true);
    let output = folder.path().join("model");
    let mut seen = 0;
    let exported = export(&run, &made_up, &request("fcd-t1", true), &output, &mut |done, total| {
        seen = done;
        assert_eq!(total, SUBJECTS);
    })
    .unwrap();
    assert_eq!(seen, SUBJECTS);
    assert!(exported.figures.largest_logit_difference <= 1e-6, "{:?}", exported.figures);
    assert!((exported.figures.auc.unwrap() - 0.81).abs() < 1e-12, "{:?}", exported.figures);

    let model = ModelFolder::load(&output).unwrap();
    let m = model.manifest();
    assert!(m.trained && m.is_synthetic() && m.data_source.contains("synthetic data only"));
    assert_eq!(m.calibration.kind, CalibrationKind::Platt);
    assert!(m.calibration.fitted_on.as_deref().unwrap().contains("approximate for an ensemble"));
    assert!(m.decision.rule.as_deref().unwrap().contains("Youden"));
    assert_eq!(m.map.control_percentile, Some(95.0));
    assert_eq!(m.training.as_ref().unwrap().prevalence, 0.5);
    let subjects = String::from_utf8(model.record("subjects.txt").unwrap().unwrap()).unwrap();
    assert_eq!(subjects.lines().count(), SUBJECTS);
    assert!(subjects.lines().all(|line| line.len() == 64) && !subjects.contains("sub-"));
    let rows = String::from_utf8(model.record(OUT_OF_FOLD).unwrap().unwrap()).unwrap();
    assert_eq!(rows.lines().count(), SUBJECTS + 1);

    // It serves, and says what it is.
    let settings = config::Analyze { models: vec![output.clone()], ..config::Analyze::default() };
    let identity = &Engine::load(&settings).unwrap().models()[0];
    assert!(identity.synthetic && identity.folds == 2);

    // Equal weights, equal bytes.
    let again = folder.path().join("again");
    export(&run, &made_up, &request("fcd-t1", true), &again, &mut |_, _| {}).unwrap();
    assert_eq!(ModelFolder::load(&again).unwrap().digest(), model.digest());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some((run, made_up)) = run(&folder.path().join("run"), 5, 1) else { return };
    let output = folder.path().join("model");
    let attempt = |request: &_| export(&run, &made_up, request, &output, &mut |_, _| {});

    // A trainer that said something else.
    let path = run.fold(1).predictions_path();
    let good = run.fold(1).predictions().unwrap();
    let mut rows = good.clone();
    rows[3].logit_fcd += 2e-4;
    write_table(&path, &rows).unwrap();
    match attempt(&request("m", false)) {
        Err(ExportError::Disagreement { fold: 1, subject, difference, .. }) => {
            assert!(subject == rows[3].subject && (difference - 2e-4).abs() < 1e-5, "{subject} {difference}");
        }
        other => panic!("{other:?}"),
    }
    // Networks that rank the wrong way round are not calibrated, and the manifest says so.
    let (backward, subjects) = research_run::run(&folder.path().join("backward"), 7, 8).unwrap();
    let path_of_backward = folder.path().join("backward-model");
    let exported = export(&backward, &subjects, &request("m", false), &path_of_backward, &mut |_, _| {}).unwrap();
    let calibration = &exported.folder.manifest().calibration;
    assert!(exported.figures.not_calibrated.is_some() && calibration.kind == CalibrationKind::None);
    assert!(calibration.fitted_on.as_deref().unwrap().contains("do not rise"), "{calibration:?}");
    assert!(!exported.folder.manifest().is_synthetic());

    // A missing fold, unless it is said to be.
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(attempt(&request("m", false)), Err(ExportError::MissingFolds { missing, .. }) if missing == [1]));
    // A checkpoint of another plan.
    write_table(&path, &good).unwrap();
    let (other, _) = research_run::run(&folder.path().join("other"), 6, 1).unwrap();
    std::fs::copy(other.fold(0).checkpoint_best(), run.fold(0).checkpoint_best()).unwrap();
    assert!(matches!(attempt(&request("m", false)), Err(ExportError::OtherPlan { .. })));
    assert!(!output.exists(), "nothing was written");
}
