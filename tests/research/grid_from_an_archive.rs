//! A whole grid by the command line, as small as it can be: killed in its middle, called again, its tables made.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::archive::{flair_as_t1, write_archive};
use crate::calls::{self, quickly, said};
use crate::support::{python, skip, wait_until};

/// Exit status of make_pth.py where PyTorch is not installed.
const NO_TORCH: i32 = 77;

/// ResNet-18 of width 2 under MedicalNet's names: one file in each container.
fn make_weights(folder: &Path) -> Option<()> {
    let python = python()?;
    let made = folder.join("made");
    fs::create_dir_all(&made).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trainer/make_pth.py");
    // The trainer's own libtorch must not take the place of PyTorch's.
    let output = Command::new(python).arg("-B").arg(script).arg(&made).env_remove("LD_LIBRARY_PATH").output().unwrap();
    if output.status.code() == Some(NO_TORCH) {
        skip("the tests' Python has no PyTorch (make setup-test)");
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (from, to) in [("zip", "1/resnet_18.pth"), ("legacy", "23/resnet_18_23dataset.pth")] {
        fs::create_dir_all(folder.join(to).parent().unwrap()).unwrap();
        fs::copy(made.join(format!("resnet18_{from}.pth")), folder.join(to)).unwrap();
    }
    Some(())
}

fn grid(folder: &Path, width: &str, more: &[&str]) -> Command {
    let mut command = calls::grid(folder, ["1", "23"], env!("CARGO_BIN_EXE_fcdd-trainer"));
    command.args(quickly("16,32,32", "8")).args(["--width", width, "--epochs", "1", "--threads", "1"]).args(more);
    command
}

#[test]
fn a_killed_grid_goes_on_and_compares_what_it_trained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    if make_weights(folder).is_none() {
        return;
    }
    let archive = folder.join("archive");
    for id in write_archive(&archive, 8) {
        flair_as_t1(&archive, &id, "35083");
    }

    // Weights of another width are known before anything is trained.
    let text = said(&grid(folder, "4", &[]).output().unwrap(), 1);
    assert!(text.contains("1/resnet_18.pth") && text.contains("conv1.weight"), "{text}");
    assert!(!folder.join("grid").exists());

    let mut killed = grid(folder, "2", &[]).stderr(Stdio::null()).spawn().unwrap();
    let first = folder.join("grid/resnet18-none/flair/predictions.csv");
    wait_until("the first training is done", Duration::from_secs(300), || first.exists().then_some(()));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let before = fs::read(&first).unwrap();

    let output = grid(folder, "2", &["--json"]).output().unwrap();
    let text = said(&output, 0);
    assert!(text.contains("resnet18-23, 3 of 3, from") && text.contains("resnet_18_23dataset.pth"), "{text}");
    assert_eq!(fs::read(&first).unwrap(), before);
    let tables: Value = serde_json::from_slice(&output.stdout).unwrap();
    for row in 0..2 {
        for column in 0..3 {
            assert!(tables["accuracy"]["rows"][row]["cells"][column]["mean"].is_f64(), "{tables:#}");
        }
    }
    assert_eq!(tables["subjects_tests"].as_array().unwrap().len(), 6);
    assert!(fs::read_to_string(folder.join("grid/grid.html")).unwrap().contains("Table 2: Heat-Score"));

    // Nothing is trained again, and the tables are the same.
    let again = grid(folder, "2", &["--json"]).output().unwrap();
    said(&again, 0);
    assert!(!String::from_utf8_lossy(&again.stderr).contains("epoch"));
    assert_eq!(again.stdout, output.stdout);
    assert!(said(&grid(folder, "2", &["--seed", "2"]).output().unwrap(), 1).contains("another plan"));
}
