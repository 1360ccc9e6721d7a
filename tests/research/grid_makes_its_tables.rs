//! Tables 1 and 2 of a grid from made-up runs, worked by hand: eight subjects, two folds, ResNet-18 only. No trainer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use fcdd::network::Architecture;
use fcdd::research::archive::{Archive, fingerprint};
use fcdd::research::grid::{Configuration, Training, Transfer};
use fcdd::research::run::folder::{Epoch, Part, Prediction, RunFolder, write_durably, write_table};
use fcdd::research::run::plan::{Plan, Pretrained, Profile, Said};
use fcdd::research::run::splits::{Candidate, Splits};
use fcdd::study::{Group, Sequence};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::calls::{self, said};

/// Patients wrong in each fold of two patients and two controls: T1 and FLAIR, by strategy.
const WRONG: [[[usize; 2]; 3]; 2] = [[[2, 2], [1, 2], [0, 1]], [[1, 1], [0, 1], [0, 0]]];

struct MadeUp {
    folder: TempDir,
}

fn transfer_index(configuration: Configuration) -> usize {
    Transfer::ALL.iter().position(|transfer| *transfer == configuration.transfer).unwrap()
}

fn splits(seed: u64) -> Splits {
    let candidate = |number: usize| Candidate {
        id: format!("sub-{number}"),
        group: if number.is_multiple_of(2) { Group::Fcd } else { Group::Hc },
        stratum: "one scanner".to_owned(),
    };
    Splits::new(&(0..8).map(candidate).collect::<Vec<_>>(), seed, 2, 0.2).unwrap()
}

impl MadeUp {
    /// A finished grid of the archive, as `fcdd admin grid --architectures resnet18 --folds 2` leaves it.
    fn new() -> MadeUp {
        let made_up = MadeUp { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(made_up.path("archive")).unwrap();
        fs::create_dir_all(made_up.path("weights")).unwrap();
        let participants = "participant_id\tgroup\nsub-0\tfcd\nsub-1\thc\n";
        fs::write(made_up.path("archive/participants.tsv"), participants).unwrap();
        for name in ["resnet_18.pth", "resnet_18_23dataset.pth"] {
            fs::write(made_up.path("weights").join(name), name).unwrap();
        }
        let archive = fingerprint::of(&Archive::read(&made_up.path("archive")).unwrap()).unwrap();
        for training in Training::all(&[Architecture::Resnet18]) {
            let file = training.weights_file(&made_up.path("weights"), &made_up.path("weights"));
            let weights = file.map(|file| {
                let path = file.canonicalize().unwrap();
                Pretrained { sha256: fingerprint::sha256(&path).unwrap(), path }
            });
            for configuration in training.configurations() {
                let said = Said { architecture: Some(Architecture::Resnet18), folds: Some(2), ..Said::default() };
                let sequence = configuration.sequence;
                let plan = Plan::new(Profile::Paper, sequence, archive.clone(), weights.clone(), 1, &said);
                made_up.run(configuration, &plan);
            }
        }
        made_up
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run_path(&self, name: &str) -> PathBuf {
        self.path("grid").join(name)
    }

    /// Right calls have a logit of 1 towards their class, wrong ones of 1 towards the other.
    fn run(&self, configuration: Configuration, plan: &Plan) {
        let run = RunFolder::new(self.path("grid").join(configuration.folder()));
        run.begin(plan).unwrap();
        let splits = splits(1);
        splits.write(&run.splits()).unwrap();
        let flair = usize::from(configuration.sequence == Sequence::Flair);
        let wrong = WRONG[flair][transfer_index(configuration)];
        let has_heat = (flair, configuration.transfer) != (1, Transfer::None);
        let mut rows = Vec::new();
        let mut per_subject = Vec::new();
        for fold in 0..2 {
            let mut patients = 0;
            let tested = splits.subjects.iter().filter(|(_, place)| place.test_fold == fold);
            for (subject, place) in tested {
                let fcd = place.group == Group::Fcd;
                patients += usize::from(fcd);
                let logit_fcd = if fcd && patients > wrong[fold] { 1.0 } else { -1.0 };
                rows.push(Prediction {
                    subject: subject.clone(),
                    fold,
                    part: Part::Test,
                    fcd,
                    logit_hc: 0.0,
                    logit_fcd,
                });
                // 0.1 and 0.3 in fold 0; 0.4 and undefined in fold 1.
                let heat = [[Some(0.1), Some(0.3)], [Some(0.4), None]];
                let heat_score = if fcd && has_heat { heat[fold][patients - 1] } else { None };
                per_subject.push(json!({"subject": subject, "fold": fold, "fcd": fcd, "heat_score": heat_score}));
            }
            // Seen by its network: no subject of the tables.
            let seen = Prediction {
                subject: "sub-9".to_owned(),
                fold,
                part: Part::Validation,
                fcd: true,
                logit_hc: 0.0,
                logit_fcd: -9.0,
            };
            rows.push(seen);
            let seconds: &[f64] = [&[10.0, 10.0][..], &[30.0]][fold];
            write_table(&run.fold(fold).history_path(), &epochs(seconds)).unwrap();
            write_table(&run.fold(fold).predictions_path(), &rows[rows.len() - 5..]).unwrap();
            fs::write(run.fold(fold).checkpoint_best(), b"weights").unwrap();
        }
        write_table(&run.predictions_path(), &rows).unwrap();
        let summary = |mean: f64, undefined: Value| json!({"mean": mean, "undefined": undefined});
        let heat = has_heat.then(
            || json!({"lesion": summary(0.3, json!([["constant-map", 1]])), "mirrored": summary(-0.05, json!([]))}),
        );
        let report = json!({
            "format": 1,
            "synthetic": true,
            "confounds": {"passed": configuration.transfer != Transfer::None},
            "metrics": {
                "train_validation_gap": {"mean": 0.1, "sd": 0.05, "n": 2},
                "heat": heat,
                "per_subject": per_subject,
            },
            "hardware": ["training on a made-up machine", "maps on another"],
            "forward_pass": {"median_ms": 12.5, "scans": 8, "what": "made up"},
        });
        write_durably(&run.path().join("metrics.json"), report.to_string().as_bytes()).unwrap();
    }

    fn grid(&self, more: &[&str]) -> Output {
        let mut command = calls::grid(self.folder.path(), ["weights", "weights"], self.path("no-trainer"));
        command.args(["--profile", "paper", "--folds", "2"]).args(more).output().unwrap()
    }
}

fn epochs(seconds: &[f64]) -> Vec<Epoch> {
    let epoch = |(index, seconds): (usize, &f64)| Epoch {
        epoch: index + 1,
        train_loss: 0.5,
        train_accuracy: 0.9,
        validation_loss: 0.6,
        validation_accuracy: 0.8,
        validation_auc: None,
        learning_rate: 1e-3,
        seconds: *seconds,
        waited_s: 0.0,
    };
    seconds.iter().enumerate().map(epoch).collect()
}

#[track_caller]
fn close(found: &Value, expected: f64) {
    assert!((found.as_f64().unwrap() - expected).abs() < 1e-9, "{found} instead of {expected}");
}

#[test]
fn tables_and_tests_are_those_of_the_hand() {
    let made_up = MadeUp::new();
    let output = made_up.grid(&["--json"]);
    said(&output, 0);
    let grid: Value = serde_json::from_slice(&output.stdout).unwrap();
    let file: Value = serde_json::from_slice(&fs::read(made_up.run_path("grid.json")).unwrap()).unwrap();
    assert_eq!(grid, file);

    // Table 1. A patient wrong of four subjects is a quarter.
    let accuracy = &grid["accuracy"];
    let spread = 0.25 / 2.0_f64.sqrt();
    for (row, column, mean, sd) in [
        (0, 0, 0.5, 0.0),
        (0, 1, 0.625, spread),
        (0, 2, 0.875, spread),
        (1, 0, 0.75, 0.0),
        (1, 1, 0.875, spread),
        (1, 2, 1.0, 0.0),
    ] {
        let cell = &accuracy["rows"][row]["cells"][column];
        close(&cell["mean"], mean);
        close(&cell["sd"], sd);
    }
    assert_eq!((&accuracy["rows"][0]["modality"], &accuracy["rows"][1]["modality"]), (&json!("t1"), &json!("flair")));
    close(&accuracy["rows"][0]["mean"], 2.0 / 3.0);
    close(&accuracy["rows"][1]["mean"], 0.875);
    for (column, mean) in [0.625, 0.75, 0.9375].into_iter().enumerate() {
        close(&accuracy["column_means"][column], mean);
    }
    close(&accuracy["mean"], 4.625 / 6.0);

    // The paper's test has two pairs here, so one degree of freedom: p = 1 − 2/π atan(t).
    let tests = &grid["accuracy_tests"];
    assert_eq!(tests[0]["test"], Value::Null, "1 − none is 1/8 in both pairs");
    close(&tests[1]["test"]["t"], 5.0);
    close(&tests[1]["test"]["p"], 1.0 - 5.0_f64.atan() * 2.0 / std::f64::consts::PI);
    close(&tests[2]["test"]["t"], 3.0);
    close(&tests[1]["papers_p"], 0.0422);
    assert_eq!((&tests[1]["first"], &tests[1]["second"]), (&json!("23"), &json!("none")));
    assert_eq!(tests[2]["papers_p"], Value::Null);

    // Table 2: folds of 0.2 and 0.4; FLAIR without transfer has no mask.
    let heat = &grid["heat_score"];
    close(&heat["rows"][0]["cells"][0]["mean"], 0.3);
    close(&heat["rows"][0]["cells"][0]["sd"], 0.2 / 2.0_f64.sqrt());
    assert_eq!((&heat["rows"][1]["cells"][0], &heat["rows"][1]["mean"]), (&Value::Null, &Value::Null));
    assert_eq!(heat["column_means"][0], Value::Null);
    close(&heat["column_means"][2], 0.3);
    assert_eq!(
        (&grid["heat_score_tests"][0]["pairs"], &grid["heat_score_tests"][0]["test"]),
        (&json!(1), &Value::Null)
    );

    // Discordant subjects 1, 3, 2 (T1) and 1, 2, 1 (FLAIR), all for the first: mid-p ½ⁿ. Holm: 6 · 1/8, the rest 1.
    let mid = [0.5, 0.125, 0.25, 0.5, 0.25, 0.5];
    let holm = [1.0, 0.75, 1.0, 1.0, 1.0, 1.0];
    for index in 0..6 {
        let test = &grid["subjects_tests"][index];
        close(&test["mcnemar"]["p_mid"], mid[index]);
        close(&test["mcnemar_holm"], holm[index]);
        assert_eq!((&test["subjects"], &test["mcnemar"]["only_second_right"]), (&json!(8), &json!(0)));
    }
    // T1: of 23 datasets 4/4 and 3/4 of the pairs (two ties), of none all ties.
    close(&grid["subjects_tests"][1]["auc"]["difference"]["estimate"], 0.375);
    assert!(grid["subjects_tests"][1]["auc_holm"].as_f64() >= grid["subjects_tests"][1]["auc"]["p"].as_f64());

    let best = &grid["best"];
    assert_eq!((&best["modality"], &best["transfer"], &best["equals"]), (&json!("flair"), &json!("23"), &json!(0)));
    let t1 = &grid["configurations"][0];
    close(&t1["seconds_per_fold"]["mean"], 25.0);
    close(&t1["seconds_per_fold"]["sd"], 10.0 / 2.0_f64.sqrt());
    close(&t1["train_validation_gap"]["mean"], 0.1);
    close(&t1["milliseconds_per_scan"], 12.5);
    assert_eq!((&t1["subjects"], &t1["patients"]), (&json!(8), &json!(4)));

    for page in ["grid.md", "grid.html"] {
        let text = fs::read_to_string(made_up.run_path(page)).unwrap();
        for piece in [
            "Research use only",
            "Synthetic subjects",
            "87.5 ± 17.7",
            "undefined",
            "80.3 %",
            "0.0422",
            "0.0075",
            "not known",
            "optimistic",
            "4 of 6 configurations passed, 2 failed",
            "Not the paper's: 2 folds.",
            "Of all configurations: training on a made-up machine; maps on another.",
            "resnet18, FLAIR, no transfer: no Heat-Score: no patient has a lesion mask",
            "resnet18, T1, no transfer; resnet18, T1, 1 dataset; resnet18, T1, 23 datasets; resnet18, FLAIR, 1 dataset; \
             resnet18, FLAIR, 23 datasets: the Heat-Score of 1 patient(s) is undefined: constant map.",
        ] {
            assert!(text.contains(piece), "{page} does not say {piece:?}:\n{text}");
        }
        assert!(!text.contains("NaN") && !text.contains("http"), "{page}:\n{text}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let made_up = MadeUp::new();
    let before = fs::read(made_up.run_path("resnet18-none/t1/plan.toml")).unwrap();
    let text = said(&made_up.grid(&["--seed", "9"]), 1);
    assert!(text.contains("another plan") && text.contains("seed = 9") && text.contains("--output"), "{text}");
    assert_eq!(fs::read(made_up.run_path("resnet18-none/t1/plan.toml")).unwrap(), before);
    assert!(said(&made_up.grid(&["--batch", "1"]), 2).contains("batch"));
    assert!(said(&made_up.grid(&["--architectures", "resnet10"]), 2).contains("none of resnet18"));

    // The whole grid wants six files, and two are here.
    let text = said(&made_up.grid(&["--architectures", "resnet34,resnet50"]), 2);
    for name in ["resnet_34.pth", "resnet_34_23dataset.pth", "resnet_50.pth", "resnet_50_23dataset.pth"] {
        assert!(text.contains(name), "{text}");
    }
    assert!(!made_up.run_path("grid.json").exists() && !made_up.run_path("resnet34-none").exists());

    let splits_path = made_up.run_path("resnet18-23/flair/splits.json");
    splits(5).write(&splits_path).unwrap();
    let text = said(&made_up.grid(&[]), 1);
    assert!(text.contains("resnet18-23/flair/splits.json splits the subjects otherwise"), "{text}");
    splits(1).write(&splits_path).unwrap();

    let report = made_up.run_path("resnet18-1/t1/metrics.json");
    let whole = fs::read_to_string(&report).unwrap();
    fs::write(&report, whole.replace("sub-3", "sub-33")).unwrap();
    let text = said(&made_up.grid(&[]), 1);
    assert!(text.contains("resnet18-1/t1/metrics.json") && text.contains("other subjects"), "{text}");
    fs::write(&report, &whole[..whole.len() / 2]).unwrap();
    assert!(said(&made_up.grid(&[]), 1).contains("resnet18-1/t1/metrics.json cannot be used"));

    // A run that is not finished wants the trainer.
    fs::remove_file(&report).unwrap();
    assert!(said(&made_up.grid(&[]), 1).contains("make trainer"));
    fs::write(&report, whole).unwrap();
    said(&made_up.grid(&[]), 0);
    assert!(Path::new(&made_up.run_path("grid.html")).exists());
}
