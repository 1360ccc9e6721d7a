//! Judges of DICOM files that are not ours.

use std::path::Path;
use std::process::{Command, Output};

use super::prerequisites::{python, require_file, require_peer};

/// The errors that `dciodvfy -new` (dicom3tools) finds in a file; `None` after a skip.
pub fn dciodvfy_errors(file: &Path) -> Option<Vec<String>> {
    let program = require_peer("dciodvfy")?;
    let output = Command::new(program).arg("-new").arg(file).output().expect("dciodvfy can be started");
    let said = text(&output);
    // It names what it took the file for; without that line it has not understood it at all.
    assert!(said.lines().any(|line| !line.trim().is_empty()), "dciodvfy said nothing about {}", file.display());
    Some(said.lines().filter(|line| line.starts_with("Error")).map(str::to_owned).collect())
}

/// The errors that PixelMed's validator finds in a structured report; `None` after a skip.
pub fn pixelmed_sr_errors(file: &Path) -> Option<Vec<String>> {
    let java = require_peer("java")?;
    let classes = require_file("/usr/share/java/pixelmed.jar", "PixelMed")?;
    let output = Command::new(java)
        // The validator is one large style sheet, larger than Java's limits for documents from outside.
        .args(["-Djdk.xml.xpathExprGrpLimit=0", "-Djdk.xml.xpathExprOpLimit=0", "-Djdk.xml.xpathTotalOpLimit=0"])
        .arg("-cp")
        .arg(classes)
        .arg("com.pixelmed.validate.DicomSRValidator")
        .arg(file)
        .output()
        .expect("java can be started");
    let said = text(&output);
    assert!(said.contains("IOD validation complete"), "PixelMed's validator did not finish:\n{said}");
    Some(said.lines().filter(|line| line.contains("Error")).map(str::to_owned).collect())
}

/// A structured report as DCMTK's `dsrdump` prints it, which must find no fault in it; `None` after a skip.
pub fn dsrdump(file: &Path) -> Option<String> {
    let program = require_peer("dsrdump")?;
    let output = Command::new(program).arg("+Pc").arg(file).output().expect("dsrdump can be started");
    let said = text(&output);
    assert!(output.status.success(), "dsrdump fails:\n{said}");
    assert!(!said.lines().any(|line| line.starts_with("E:")), "dsrdump finds errors:\n{said}");
    Some(said)
}

/// What a Python program (its text) prints when run with these arguments; it must end well. `None` after a skip.
pub fn run_python(program: &str, arguments: &[&Path]) -> Option<String> {
    let output = Command::new(python()?)
        .args(["-W", "ignore", "-c", program])
        .args(arguments)
        .output()
        .expect("Python can be started");
    assert!(output.status.success(), "the Python program failed:\n{}", text(&output));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}
