//! A run of T1 and FLAIR has a report of both together above those of each, made when the second is done, and again when
//! it is asked for.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::archive::{flair_as_t1, write_archive};
use crate::calls::{admin, quickly, retrain_both, said};

const TRAINER: &str = env!("CARGO_BIN_EXE_fcdd-trainer");

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn both_together_stand_above_each() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ids = write_archive(&folder.join("archive"), 8);
    // The last one, a control, has no T1.
    for id in &ids[..7] {
        flair_as_t1(&folder.join("archive"), id, "35083");
    }
    let mut command = retrain_both(folder, "run", TRAINER);
    command.args(quickly("32,40,32", "6")).args(["--epochs", "1", "--threads", "1"]);
    let run = folder.join("run");

    // One fold of each is no report yet.
    let text = said(&command.args(["--fold", "0"]).output().unwrap(), 0);
    assert!(!text.contains("together") && !run.join("report.html").exists(), "{text}");
    let mut command = retrain_both(folder, "run", TRAINER);
    command.args(quickly("32,40,32", "6")).args(["--epochs", "1", "--threads", "1", "--resume"]);
    let text = said(&command.output().unwrap(), 0);
    assert!(text.contains("Cross-validation of run (T1 and FLAIR together): 7 subjects, 4 patients"), "{text}");

    let metrics = read(&run.join("metrics.json"));
    let figures: Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(figures["metrics"]["subjects"], 7);
    let alone = &figures["fusion"]["alone"];
    assert_eq!(alone[0]["only"], serde_json::json!([0, 0]));
    assert_eq!(alone[1]["only"], serde_json::json!([0, 1]));
    assert!(figures.get("intensity").is_none() && figures.get("withheld").is_none());
    for (name, subjects) in [("t1", 7), ("flair", 8)] {
        let own: Value = serde_json::from_str(&read(&run.join(name).join("metrics.json"))).unwrap();
        assert_eq!(own["metrics"]["subjects"], subjects, "{name}");
        assert!(own["intensity"].is_object() && own["withheld"].is_object(), "{name}");
    }
    for page in ["report.html", "report.md"] {
        let page = read(&run.join(page));
        for part in ["0 patients and 1 controls have FLAIR only", "analyze.fused_threshold", "not a medical device"] {
            assert!(page.contains(part), "{part} is missing: {page}");
        }
        assert!(!page.contains("NaN") && !page.contains("Where the network looked"), "{page}");
    }

    for subcommand in ["collect", "report"] {
        fs::remove_file(run.join("metrics.json")).unwrap();
        said(&admin(subcommand, TRAINER).arg(&run).output().unwrap(), 0);
        assert!(read(&run.join("metrics.json")) == metrics, "{subcommand} makes another report");
    }
}
