//! Report, card and `result.json` say which prevalence a probability assumes and what the spread over the folds is;
//! another assumption is another result, with UIDs of its own.

use dicom_dictionary_std::tags;
use fcdd::config;
use fcdd::dicom::{Dataset, Templates};
use fcdd::report::card::card_svg;
use fcdd::report::{render, result_json};
use fcdd::study::{Analysis, AssembledStudy, ObjectKind, Prior, RenderedObject};

use crate::report_fixture::{
    Acquisition, item, items, not_suspected, open, study, suspected, suspected_at_a_site, text,
};

fn rendered(study: &AssembledStudy, analysis: &Analysis) -> (tempfile::TempDir, Vec<RenderedObject>) {
    let out = tempfile::tempdir().unwrap();
    let objects = render(
        study,
        analysis,
        &Templates::built_in(),
        &config::Report::default(),
        &fcdd::study::Revision::first(),
        out.path(),
    )
    .unwrap();
    (out, objects)
}

/// What the report's groups say, in order.
struct Group {
    tracking: String,
    /// Code value and number of every numeric item.
    numbers: Vec<(String, String)>,
    parameters: Vec<String>,
    /// Meaning of the finding's value.
    presence: Option<String>,
}

fn groups(study: &AssembledStudy, analysis: &Analysis) -> Vec<Group> {
    let (_out, objects) = rendered(study, analysis);
    let report = open(&objects.iter().find(|o| o.kind == ObjectKind::Report).unwrap().path);
    let name = |d: &Dataset| text(item(d, tags::CONCEPT_NAME_CODE_SEQUENCE), tags::CODE_VALUE);
    let measurements = items(&report, tags::CONTENT_SEQUENCE).iter().find(|d| name(d) == "126010").unwrap();
    let group = |group: &Dataset| {
        let content = || items(group, tags::CONTENT_SEQUENCE).iter().filter(|d| text(d, tags::VALUE_TYPE) != "IMAGE");
        let number = |d: &Dataset| text(item(d, tags::MEASURED_VALUE_SEQUENCE), tags::NUMERIC_VALUE);
        let finding = content().find(|d| name(d) == "FCD");
        Group {
            tracking: content().find(|d| name(d) == "112039").map(|d| text(d, tags::TEXT_VALUE)).unwrap(),
            numbers: content().filter(|d| text(d, tags::VALUE_TYPE) == "NUM").map(|d| (name(d), number(d))).collect(),
            parameters: content().filter(|d| name(d) == "111002").map(|d| text(d, tags::TEXT_VALUE)).collect(),
            presence: finding.map(|d| text(item(d, tags::CONCEPT_CODE_SEQUENCE), tags::CODE_MEANING)),
        }
    };
    items(measurements, tags::CONTENT_SEQUENCE).iter().map(group).collect()
}

fn number<'a>(group: &'a Group, code: &str) -> Option<&'a str> {
    group.numbers.iter().find(|(name, _)| name == code).map(|(_, value)| value.as_str())
}

#[test]
fn every_group_with_a_probability_names_its_prior() {
    let directory = tempfile::tempdir().unwrap();
    let study = study(directory.path(), Acquisition::Axial, Acquisition::Axial);

    for group in groups(&study, &suspected(&study)) {
        assert_eq!(number(&group, "PREVALENCE"), Some("50"), "{}", group.tracking);
        assert!(group.parameters.contains(&"prior=training prevalence 0.5".into()), "{:?}", group.parameters);
        assert!(group.parameters.contains(&"threshold=0.5".into()), "{:?}", group.parameters);
    }

    let at_site = groups(&study, &suspected_at_a_site(&study));
    assert_eq!(at_site.len(), 5);
    for group in &at_site {
        assert_eq!(number(group, "PREVALENCE"), Some("1"), "{}", group.tracking);
        let expected = "prior=site prevalence 0.01 (training prevalence 0.5)".to_owned();
        assert!(group.parameters.contains(&expected), "{:?}", group.parameters);
        let expected = "threshold=0.01 (at the training prevalence, where it is decided, 0.5)".to_owned();
        assert!(group.parameters.contains(&expected), "{:?}", group.parameters);
    }
    // Odds of 0.8123 : 0.1877 divided by 99 are 0.8123 : 18.5823, 4.18828 %; below one half, and suspected all the same.
    assert_eq!((at_site[1].tracking.as_str(), number(&at_site[1], "122157")), ("whole study, T1", Some("4.1883")));
    assert!(at_site[..3].iter().all(|group| group.presence.as_deref() == Some("Present")));

    let mut unstated = not_suspected(&study);
    unstated.outcomes.iter_mut().for_each(|outcome| outcome.prior = Prior::Unstated);
    unstated.fused.as_mut().unwrap().prior = Prior::Unstated;
    for group in groups(&study, &unstated) {
        assert_eq!(number(&group, "PREVALENCE"), None);
        let expected = "prior=training prevalence (not stated)".to_owned();
        assert!(group.parameters.contains(&expected), "{:?}", group.parameters);
    }
}

#[test]
fn a_fused_probability_says_how_it_was_calibrated() {
    let directory = tempfile::tempdir().unwrap();
    let study = study(directory.path(), Acquisition::Axial, Acquisition::Axial);
    let said = |analysis: &Analysis| -> Vec<bool> {
        let is_said = |group: &Group| group.parameters.iter().any(|p| p == "fused logit = 1.6 * mean + 0.1");
        groups(&study, analysis).iter().map(is_said).collect()
    };
    let mut analysis = suspected(&study);
    assert!(!said(&analysis).contains(&true), "a plain mean needs no words");
    analysis.fused.as_mut().unwrap().calibration = [1.6, 0.1];
    // The study's own group and the two regions speak of the fused probability, the models' groups of their own.
    assert_eq!(said(&analysis), [true, false, false, true, true]);
    let json = result_json(&study, &analysis, &Templates::built_in());
    assert_eq!(json["fused_calibration"], serde_json::json!([1.6, 0.1]));
}

#[test]
fn result_json_has_prior_and_decision_beside_the_probability() {
    let directory = tempfile::tempdir().unwrap();
    let study = study(directory.path(), Acquisition::Axial, Acquisition::Axial);
    let json = result_json(&study, &suspected_at_a_site(&study), &Templates::built_in());
    let site = serde_json::json!({"from": "site", "prevalence": 0.01, "training_prevalence": 0.5});
    assert_eq!((&json["prior"], &json["models"][0]["prior"]), (&site, &site));
    assert_eq!(json["decision"], serde_json::json!({"probability": 0.873_012_345, "threshold": 0.5}));
    assert_eq!(json["models"][0]["decision"], serde_json::json!({"probability": 0.8123, "threshold": 0.5}));
    let close = |value: &serde_json::Value, to: f64| (value.as_f64().unwrap() - to).abs() < 1e-9;
    assert!(close(&json["threshold"], 0.01), "{}", json["threshold"]);
    assert!(close(&json["probability"]["t1"], 0.8123 / (0.8123 + 99.0 * 0.1877)), "{}", json["probability"]);

    let json = result_json(&study, &suspected(&study), &Templates::built_in());
    assert_eq!(json["prior"], serde_json::json!({"from": "training", "prevalence": 0.5}));
}

#[test]
fn the_spread_over_the_folds_is_called_a_range() {
    let directory = tempfile::tempdir().unwrap();
    let study = study(directory.path(), Acquisition::Axial, Acquisition::Axial);
    let mut analysis = suspected(&study);
    analysis.outcomes[1].fold_probabilities.truncate(1);
    let report = config::Report::default();
    let card = card_svg(&study, &analysis, &Templates::built_in(), &report, &fcdd::study::Revision::first()).unwrap();
    assert!(card.contains("range over folds (5): 77.2 % – 84.7 %"), "{card}");
    assert!(card.contains("lowest and highest single network, not a confidence interval"));
    assert!(card.contains("one network, no folds"));

    let json = result_json(&study, &analysis, &Templates::built_in());
    let range = json["models"][0]["range_over_folds"].as_array().unwrap();
    assert!((range[0].as_f64().unwrap() - 0.7723).abs() < 1e-9 && (range[1].as_f64().unwrap() - 0.8473).abs() < 1e-9);
    assert!(json["models"][1]["range_over_folds"].is_null());

    let groups = groups(&study, &analysis);
    let ranges =
        |group: &Group| group.parameters.iter().filter(|p| p.starts_with("range over folds")).cloned().collect();
    let expected = "range over folds (%)=77.23 to 84.73 (lowest and highest single network, not a confidence interval)";
    let (t1, flair): (Vec<String>, Vec<String>) = (ranges(&groups[1]), ranges(&groups[2]));
    assert_eq!((t1, flair), (vec![expected.to_owned()], Vec::new()));
}

#[test]
fn the_card_shows_the_prevalence_with_its_origin() {
    let directory = tempfile::tempdir().unwrap();
    let study = study(directory.path(), Acquisition::Axial, Acquisition::Axial);
    let report = config::Report::default();
    let card = |analysis: &Analysis| {
        card_svg(&study, analysis, &Templates::built_in(), &report, &fcdd::study::Revision::first()).unwrap()
    };
    assert!(card(&suspected(&study)).contains("assumed prevalence 50.0 % (as in training)"));
    let at_site = card(&suspected_at_a_site(&study));
    assert!(at_site.contains("assumed prevalence 1.0 % (of this site)"));
    assert!(at_site.contains("decision threshold 1.0 %") && at_site.contains("FCD suspected"));
    let mut rare = suspected_at_a_site(&study);
    rare.fused.as_mut().unwrap().prior = Prior::Site { prevalence: 0.0004, training_prevalence: 0.5 };
    assert!(card(&rare).contains("assumed prevalence 0.0400 % (of this site)"));
    let mut unstated = suspected(&study);
    unstated.fused.as_mut().unwrap().prior = Prior::Unstated;
    assert!(card(&unstated).contains("assumed prevalence not stated"));
}

#[test]
fn another_prior_alone_gives_other_uids() {
    let directory = tempfile::tempdir().unwrap();
    let study = study(directory.path(), Acquisition::Axial, Acquisition::Axial);
    let uids = |analysis: &Analysis| -> Vec<String> {
        rendered(&study, analysis).1.iter().map(|o| o.sop_instance_uid.to_string()).collect()
    };
    let analysis = suspected(&study);
    let known = uids(&analysis);
    assert_eq!(known, uids(&analysis));
    // The site has as many patients as training had: every number stays, the statement is another.
    let same = Prior::Site { prevalence: 0.5, training_prevalence: 0.5 };
    let mut of_model = analysis.clone();
    of_model.outcomes[0].prior = same;
    let mut of_fusion = analysis.clone();
    of_fusion.fused.as_mut().unwrap().prior = same;
    for other in [of_model, of_fusion] {
        assert!(uids(&other).iter().all(|uid| !known.contains(uid)));
    }
}
