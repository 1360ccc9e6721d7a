//! Every way in which a study ends as "unassessable", and what it still gets: heatmaps and probabilities from
//! an untrained model, the reason, and no region.

use fcdd::study::{Analysis, Reason, Sequence, SeriesVerdict};

use crate::analysis::{axial, engine, manifest, random_model, sagittal, settings, stack, study, subject};

fn reasons(analysis: &Analysis) -> Vec<&str> {
    analysis.verdict.reasons().iter().map(|r| r.code.as_str()).collect()
}

fn remarks(analysis: &Analysis) -> Vec<&str> {
    analysis.remarks.iter().map(|r| r.code.as_str()).collect()
}

#[test]
fn reasons_are_given_and_heatmaps_are_made() {
    let models = tempfile::tempdir().unwrap();
    let t1 = random_model(models.path(), manifest(Sequence::T1, false), &[1, 2]);
    let flair = random_model(models.path(), manifest(Sequence::Flair, false), &[3]);
    let Some(engine) = engine(&settings(&[t1, flair])) else { return };
    assert_eq!(engine.models().iter().map(|m| m.folds).collect::<Vec<_>>(), [2, 1]);
    assert!(
        engine
            .models()
            .iter()
            .all(|m| m.cell_mm == [32.0, 64.0, 64.0] && m.digest.len() == 64 && m.precision == "fp32")
    );

    // Both modalities, untrained: everything is computed, nothing is claimed.
    let (t1, flair) = (subject(axial(), None), subject(sagittal(), None));
    let both = engine.analyze(&study(Some(t1.clone()), Some(flair.clone()))).unwrap();
    assert_eq!(reasons(&both), ["untrained_model", "untrained_model"]);
    assert!(both.verdict.reasons()[0].text.contains("untrained demonstration model"));
    assert_eq!(both.outcomes.iter().map(|o| o.sequence).collect::<Vec<_>>(), [Sequence::T1, Sequence::Flair]);
    for (outcome, source) in both.outcomes.iter().zip([&t1, &flair]) {
        let display = &outcome.heatmap.display;
        assert_eq!(display.dim(), source.data.dim());
        assert!(outcome.regions.is_empty());
        assert!(!outcome.heatmap.constant && display.iter().all(|v| (0.0..=1.0).contains(v)));
        assert!(display.iter().any(|v| *v == 1.0));
        assert_eq!(display[[0, 0, 0]], 0.0, "air");
        assert!((outcome.probability - 1.0 / (1.0 + (-outcome.logit).exp())).abs() < 1e-12);
    }
    let fused = both.fused.as_ref().unwrap();
    assert!((fused.logit - (both.outcomes[0].logit + both.outcomes[1].logit) / 2.0).abs() < 1e-12);
    let logit = |p: f64| (p / (1.0 - p)).ln();
    let folds = &both.outcomes[0].fold_probabilities;
    assert_eq!(folds.len(), 2);
    assert!(((logit(folds[0]) + logit(folds[1])) / 2.0 - both.outcomes[0].logit).abs() < 1e-6);
    for stage in ["preprocess_t1", "inference_t1", "gradcam_t1", "preprocess_flair", "inference_flair", "analyze"] {
        assert!(both.timings_ms[stage] > 0.0, "{stage}");
    }
    eprintln!("{:#?}", both.timings_ms);

    // The same study again gives the same numbers.
    let again = engine.analyze(&study(Some(t1.clone()), None)).unwrap();
    assert_eq!(again.outcomes[0].logit, both.outcomes[0].logit);
    assert_eq!(remarks(&again), ["missing_flair"]);
    assert_eq!(again.fused.unwrap().threshold, again.outcomes[0].threshold);

    // The study's own problems are honoured before anything runs.
    let mut two_patients = study(Some(t1.clone()), Some(flair));
    two_patients.problems.push(Reason::new("several_patients", "two patients in one study"));
    let analysis = engine.analyze(&two_patients).unwrap();
    assert_eq!(reasons(&analysis), ["several_patients"]);
    assert!(analysis.outcomes.is_empty() && analysis.fused.is_none());

    // Nothing usable: the series' verdicts are in the sentence.
    let mut nothing = study(None, None);
    nothing.stacks.push(stack(Sequence::T1, 5, None, SeriesVerdict::SingleSlice));
    let analysis = engine.analyze(&nothing).unwrap();
    assert_eq!(reasons(&analysis), ["no_usable_series"]);
    assert!(analysis.verdict.reasons()[0].text.contains("series 5 (T1): a single slice"));

    // A series that is no head: said, and no heatmap for it.
    let mut air = t1.clone();
    air.data.fill(0.0);
    let analysis = engine.analyze(&study(Some(air), None)).unwrap();
    assert_eq!(reasons(&analysis), ["no_head_found"]);
    assert!(analysis.outcomes.is_empty());

    // Thick slices withhold the verdict, not the heatmap.
    let mut thick = axial();
    thick.shape[0] = 60;
    thick.axes[0] = [0.0, 0.0, 3.4];
    let analysis = engine.analyze(&study(Some(subject(thick, None)), None)).unwrap();
    assert_eq!(reasons(&analysis), ["slices_too_thick", "untrained_model"]);
    assert_eq!(analysis.outcomes.len(), 1);
}
