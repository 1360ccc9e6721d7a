//! Calls of `fcdd admin` that train, with networks so small that a scenario can wait for them, and what was said.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What `retrain` trains: one network, for FLAIR.
pub const SMALL_NETWORK: [&str; 6] = ["--modality", "flair", "--architecture", "resnet10", "--width", "2"];

/// Two folds that are soon done: coarse volumes, few at a time.
pub fn quickly<'a>(input: &'a str, spacing_mm: &'a str) -> [&'a str; 10] {
    ["--input", input, "--spacing", spacing_mm, "--folds", "2", "--batch", "2", "--device", "cpu"]
}

/// `fcdd admin SUBCOMMAND`, with this as its trainer.
pub fn admin(subcommand: &str, trainer: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fcdd"));
    command.env("FCDD_TRAINER", trainer).args(["admin", subcommand]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `retrain` of a small network on FOLDER/archive into FOLDER/OUTPUT.
pub fn retrain(folder: &Path, output: &str, trainer: impl AsRef<OsStr>) -> Command {
    let mut command = on_archive("retrain", folder, output, trainer);
    command.args(SMALL_NETWORK);
    command
}

/// The same for T1 and FLAIR in one run.
pub fn retrain_both(folder: &Path, output: &str, trainer: impl AsRef<OsStr>) -> Command {
    let mut command = on_archive("retrain", folder, output, trainer);
    command.args(["--modality", "both"]).args(&SMALL_NETWORK[2..]);
    command
}

/// `grid` of ResNet-18 on FOLDER/archive into FOLDER/grid, with weights from these two folders in FOLDER.
pub fn grid(folder: &Path, weights: [&str; 2], trainer: impl AsRef<OsStr>) -> Command {
    let mut command = on_archive("grid", folder, "grid", trainer);
    command.arg("--weights-1").arg(folder.join(weights[0])).arg("--weights-23").arg(folder.join(weights[1]));
    command.args(["--architectures", "resnet18"]);
    command
}

fn on_archive(subcommand: &str, folder: &Path, output: &str, trainer: impl AsRef<OsStr>) -> Command {
    let mut command = admin(subcommand, trainer);
    command.arg("--archive").arg(folder.join("archive")).arg("--output").arg(folder.join(output));
    command.arg("--cache").arg(folder.join("cache"));
    command
}

/// What it said, after a look at its exit status.
#[track_caller]
pub fn said(output: &Output, code: i32) -> String {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}
