//! The real ds004199 as git leaves it, without its volumes: everybody is listed with the right reason, and the tables
//! hold what the sidecars and participants.tsv say.

use std::process::Command;

use fcdd::research::archive::Archive;

use crate::support;

#[test]
fn the_layout_is_understood_before_a_volume_is_downloaded() {
    let Some(layout) = support::reference_data("ds004199-layout") else { return };
    let archive = Archive::read(&layout).unwrap();
    assert_eq!((archive.participants.len(), archive.subjects.len()), (170, 0));
    assert_eq!(archive.age_column, Some("age_scan"));
    assert!(archive.participants.is_sorted_by(|a, b| a.id < b.id));
    let code = |id: &str| -> Vec<(Option<&str>, &str)> {
        let findings = archive.unusable.iter().filter(|f| f.subject == id);
        findings.map(|f| (f.sequence.map(|s| s.label()), f.reason.code.as_str())).collect()
    };
    let missing = [(Some("T1"), "volume_missing"), (Some("FLAIR"), "volume_missing")];
    for id in ["sub-00001", "sub-00002", "sub-00003", "sub-00006", "sub-00048", "sub-00068"] {
        assert_eq!(code(id), missing, "{id}");
    }
    // Two of the seven 2D FLAIR: downloading them would not help.
    for id in ["sub-00053", "sub-00120"] {
        assert_eq!(code(id), [(Some("T1"), "volume_missing"), (Some("FLAIR"), "not_3d")], "{id}");
    }
    let without_folder = archive.unusable.iter().filter(|f| f.reason.code == "no_folder").count();
    assert_eq!(without_folder, 162);

    let run = Command::new(env!("CARGO_BIN_EXE_fcdd"))
        .args(["admin", "archive", "check", "--json"])
        .arg(&layout)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(1));
    let check: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let table = |of: &str| -> Vec<(String, u64, u64)> {
        let tables = check["tables"].as_array().unwrap();
        let table = tables.iter().find(|t| t["of"] == of).unwrap_or_else(|| panic!("no table of {of}"));
        let row = |r: &serde_json::Value| {
            let count = |group: &str| r["found"][group].as_u64().unwrap();
            (r["value"].as_str().unwrap().to_owned(), count("fcd"), count("hc"))
        };
        table["rows"].as_array().unwrap().iter().map(row).collect()
    };
    let rows = |rows: &[(&str, u64, u64)]| -> Vec<(String, u64, u64)> {
        rows.iter().map(|(value, fcd, hc)| ((*value).to_owned(), *fcd, *hc)).collect()
    };
    // By the eight subjects' sidecars and rows, read by eye.
    assert_eq!(table("T1 scanner"), rows(&[("20619", 3, 0), ("35083", SCANNED.0, SCANNED.1)]));
    assert_eq!(table("T1 protocol"), rows(&[("iso08", SCANNED.0, SCANNED.1), ("sag111", 2, 0), ("sag111VNS", 1, 0)]));
    let ages = table("age_scan");
    let up_to_20: (u64, u64) = ages
        .iter()
        .filter(|r| r.0.parse::<u32>().is_ok_and(|bin| bin <= 4))
        .fold((0, 0), |n, r| (n.0 + r.1, n.1 + r.2));
    assert_eq!(up_to_20, (23, 0));
    let sexes = table("sex");
    assert_eq!(sexes.iter().map(|r| r.1).sum::<u64>(), 85);
    assert_eq!(sexes.iter().map(|r| r.2).sum::<u64>(), 85);
    let warnings: Vec<&str> = check["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert!(
        warnings.iter().any(|w| w.contains("age_scan: up to 4 has 23 of 85 patients and 0 of 85 controls")),
        "{warnings:?}"
    );
    assert!(!warnings.iter().any(|w| w.contains("off sex")), "{warnings:?}");
    assert!(check["flair_problem"].as_str().unwrap().contains("nothing is usable"));
}

/// Patients and controls among the five subjects of serial 35083 with sidecars.
const SCANNED: (u64, u64) = (4, 1);
