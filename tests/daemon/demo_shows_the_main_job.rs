//! `fcdd demo` runs the main job on loopback, twice into the same folder, and writes a picture.

use crate::support::{fcdd, require_onnxruntime};

#[test]
fn results_come_back_and_a_picture_is_written() {
    let Some(_) = require_onnxruntime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let output_folder = folder.path().join("demo");
    for _ in 0..2 {
        let output = fcdd(["demo".as_ref(), "--json".as_ref(), "--output".as_ref(), output_folder.as_os_str()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["state"], "delivered", "{result}");
        // A synthetic lesion of full strength, and models that learned from such.
        assert_eq!(result["result"]["verdict"], "suspected", "{result}");
        assert_eq!(result["result"]["synthetic"], "trained on synthetic data only");
        assert!(result["result"]["probability"]["fused"].is_f64());
        let received = result["received_by_pacs"].as_array().unwrap();
        assert!(received.len() > 20, "{}", received.len());
        let picture = std::fs::read(result["picture"].as_str().unwrap()).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
    }
}

#[test]
fn a_folder_that_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "three years of work").unwrap();
    let output = fcdd(["demo".as_ref(), "--output".as_ref(), folder.path().as_os_str()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(folder.path().join("thesis.txt").is_file());
}
