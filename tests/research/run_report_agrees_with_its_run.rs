//! A finished run gets its report: pages that open from disk and say what they are, figures that agree with the
//! predictions, a montage with the lesion's contour; and promotion decides by its confound verdict.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine;
use fcdd::network::ModelFolder;
use fcdd::research::evaluate::SubjectRow;
use fcdd::research::run::folder::{Part, Prediction, RunFolder, read_table};
use serde_json::{Value, json};

use crate::finished_run::{SUBJECTS, admin, finished_run, text};

fn metrics(run: &RunFolder) -> Value {
    serde_json::from_slice(&fs::read(run.metrics_path()).unwrap()).unwrap()
}

/// The pictures in the page, as RGB pixels.
fn pictures(page: &str) -> Vec<Vec<u8>> {
    let addresses = page.split("data:image/png;base64,").skip(1).filter_map(|rest| rest.split('"').next());
    let decode = |address: &str| {
        let png = base64::engine::general_purpose::STANDARD.decode(address).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        pixels
    };
    addresses.map(decode).collect()
}

#[test]
fn the_report_agrees_and_promotion_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(made) = finished_run(folder) else { return };
    let run = &made.run;
    let path = text(run.path());
    let models = folder.join("models");
    fs::create_dir(&models).unwrap();
    let place = ["--models", text(&models)];

    // Exported before there was a report: there is no verdict on confounds.
    let before = models.join("before");
    admin(["export", path, "--output", text(&before)], 0);
    let [said, _] = admin(["promote", "before", place[0], place[1]], 1);
    assert!(said.contains("no confound report"), "{said}");

    let [said, _] = admin(["report", path], 0);
    assert!(said.contains("synthetic subjects") && said.contains("confound report: passed"), "{said}");
    pages_stand_alone_and_say_what_they_are(run);
    figures_agree_with_the_predictions(run);

    // Its verdict speaks for the model of this run, before and after, and for no other.
    let other = RunFolder::new(folder.join("other"));
    let mut plan = run.plan().unwrap();
    plan.seed += 1;
    other.begin(&plan).unwrap();
    fs::copy(run.metrics_path(), other.metrics_path()).unwrap();
    let [_, error] = admin(["promote", "before", place[0], place[1], "--run", text(other.path())], 1);
    assert!(error.contains("did not make before"), "{error}");
    let [said, _] = admin(["promote", "before", place[0], place[1], "--run", path], 0);
    assert!(said.contains("is served for FLAIR") && !said.contains("because"), "{said}");
    let after = models.join("after");
    admin(["export", path, "--output", text(&after), "--version", "1.0.1"], 0);
    let record = ModelFolder::load(&after).unwrap().record("metrics.json").unwrap().unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["confounds"]["passed"], true);
    assert!(!record.to_string().contains("sub-"), "a model names nobody");

    // The scanner gives the label away: the same scores fail, and promotion agrees.
    confound(&run.cache_index());
    let [said, _] = admin(["report", path], 0);
    assert!(said.contains("confound report: FAILED"), "{said}");
    let page = fs::read_to_string(run.report_path()).unwrap();
    assert!(page.contains("FAILED") && metrics(run)["confounds"]["passed"] == false);
    let [said, _] = admin(["promote", "after", place[0], place[1], "--run", path], 1);
    assert!(said.contains("confound report of its run failed"), "{said}");
}

fn pages_stand_alone_and_say_what_they_are(run: &RunFolder) {
    let page = fs::read_to_string(run.report_path()).unwrap();
    let text = fs::read_to_string(run.path().join("report.md")).unwrap();
    for page in [&page, &text] {
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("NaN"), "{page}");
        assert!(page.contains("Synthetic subjects") && page.contains("not a medical device"), "{page}");
        for part in [
            "mirrored lesion",
            "Class-conditional",
            "baseline that sees only",
            "would withhold",
            "suspected from",
            "mirrored left to right",
        ] {
            assert!(page.contains(part), "{part} is missing: {page}");
        }
    }
    for outside in ["<script", "<link", "url(", "src=\"/", "src=\"."] {
        assert!(!page.contains(outside), "{outside}");
    }
    let verdict = page.find("Confounds. ").unwrap();
    assert!(page[verdict..].contains("Passed:") && verdict < page.find("<h2>").unwrap(), "the verdict is on top");
    for title in ["ROC", "Calibration", "Learning curves of all folds"] {
        assert!(page.contains(title), "{title}");
    }
    assert!(!page.contains("http-equiv"), "it does not reload");

    let pictures = pictures(&page);
    assert!(!pictures.is_empty() && pictures.len() <= 3 && page.contains("best: sub-"), "{}", pictures.len());
    for pixels in pictures {
        assert!(pixels.chunks_exact(3).filter(|pixel| *pixel == [80, 220, 255]).count() > 8, "no contour");
        assert!(pixels.chunks_exact(3).any(|pixel| pixel[0] > pixel[1].saturating_add(40)), "no heat");
    }
}

fn figures_agree_with_the_predictions(run: &RunFolder) {
    let metrics = metrics(run);
    assert_eq!((metrics["synthetic"].as_bool(), metrics["format"].as_u64()), (Some(true), Some(1)));
    let rows: Vec<Prediction> = read_table(&run.predictions_path()).unwrap();
    let tests: BTreeMap<&str, &Prediction> =
        rows.iter().filter(|row| row.part == Part::Test).map(|row| (row.subject.as_str(), row)).collect();
    let subjects = metrics["metrics"]["per_subject"].as_array().unwrap();
    assert_eq!((subjects.len(), tests.len()), (SUBJECTS, SUBJECTS));
    let mut scores = Vec::new();
    for subject in subjects {
        let row = tests[subject["subject"].as_str().unwrap()];
        // JSON numbers are read back to the last digit but one.
        assert!((subject["logit"].as_f64().unwrap() - row.logit()).abs() < 1e-12, "{subject} {row:?}");
        assert_eq!((&subject["fold"], &subject["fcd"]), (&json!(row.fold), &json!(row.fcd)));
        scores.extend(subject["heat_score"].as_f64());
        assert!(row.fcd || subject["heat_score"].is_null(), "a control has no Heat-Score");
    }
    // By hand: the networks' own calls at 0, fold by fold.
    let accuracy = |fold: usize| {
        let of: Vec<&&Prediction> = tests.values().filter(|row| row.fold == fold).collect();
        of.iter().filter(|row| (row.logit() >= 0.0) == row.fcd).count() as f64 / of.len() as f64
    };
    let [a, b] = [accuracy(0), accuracy(1)];
    let over = &metrics["metrics"]["accuracy_uncalibrated"]["over_folds"];
    assert!((over["mean"].as_f64().unwrap() - (a + b) / 2.0).abs() < 1e-12, "{over}");
    assert!((over["sd"].as_f64().unwrap() - (a - b).abs() / 2.0_f64.sqrt()).abs() < 1e-12, "{over}");
    assert_eq!(metrics["metrics"]["auc"]["over_folds"]["mean"], 1.0);

    let heat = &metrics["metrics"]["heat"];
    let patients = (SUBJECTS / 2) as u64;
    assert!(!scores.is_empty());
    assert_eq!(heat["lesion"]["defined"].as_u64().unwrap(), scores.len() as u64);
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    assert!((heat["lesion"]["mean"].as_f64().unwrap() - mean).abs() < 1e-9);
    let counted = |of: &str| heat[of].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
    assert_eq!(counted("categories"), patients);
    assert_eq!(counted("mirrored_categories") + heat["midline"].as_u64().unwrap(), patients);

    let fold = &metrics["metrics"]["folds"][1];
    assert_eq!(
        (&fold["fold"], &fold["seconds"], &fold["train_validation_gap"]),
        (&json!(1), &json!(20.0), &json!(0.25))
    );
    assert_eq!(metrics["training_s"], 40.0);
    assert!(metrics["forward_pass"]["median_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(metrics["forward_pass"]["scans"], SUBJECTS);
    assert_eq!((&metrics["withheld"]["scans"], &metrics["withheld"]["withheld"]), (&json!(SUBJECTS), &json!(0)));
    let abstention = &metrics["abstention"];
    assert_eq!(abstention["without_quantile"], SUBJECTS, "six of a class are too few for a quantile at 0.1");

    let table: Vec<SubjectRow> = read_table(&run.subjects_path()).unwrap();
    assert_eq!(table.len(), SUBJECTS);
    assert!(table.iter().all(|row| row.fcd == tests[row.subject.as_str()].fcd && row.scanner.is_some()));
}

/// Rewrites the index as if patients and controls had been scanned on a scanner each.
fn confound(index: &Path) {
    let mut cache: Value = serde_json::from_slice(&fs::read(index).unwrap()).unwrap();
    for subject in cache["subjects"].as_array_mut().unwrap() {
        subject["scanner"] = subject["group"].clone();
    }
    fs::write(index, cache.to_string()).unwrap();
}
