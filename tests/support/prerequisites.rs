//! What a machine may lack, and saying so.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Says that the running test is skipped and why; the caller returns. Fails the test where skips are forbidden.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("test"));
    if std::env::var_os("FCDD_FORBID_SKIPS").is_some_and(|v| !v.is_empty()) {
        panic!("{line}(and FCDD_FORBID_SKIPS is set)");
    }
    // Not `eprintln!`: what that writes is shown for failing tests only.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os("FCDD_SKIPPED_LIST")
        && let Ok(mut file) = std::fs::File::options().create(true).append(true).open(list)
    {
        let _ = file.write_all(line.as_bytes());
    }
}

/// The program `name` (such as `storescu`) or `None`, after a skip that names it.
pub fn require_peer(name: &str) -> Option<PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        skip(&format!("{name} is not installed (make setup-test)"));
    }
    found
}

/// The program `name` in `PATH`, or where Debian puts daemons.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// A file that a Debian package brings, or `None` after a skip that names it.
pub fn require_file(path: &str, what: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("{what} is not installed: {} is missing (make setup-test)", path.display()));
    None
}

/// A Python with the packages of `tests/support/requirements.txt` (`FCDD_PYTHON`, else what `make setup-test` made).
pub fn python() -> Option<PathBuf> {
    let python = from_environment_or("FCDD_PYTHON", ".setup/venv/bin/python");
    if python.is_none() {
        skip("there is no Python with the test packages (make setup-test, or set FCDD_PYTHON)");
    }
    python
}

/// The ONNX Runtime library (`FCDD_ONNXRUNTIME`, else what `make setup` fetched).
pub fn require_onnxruntime() -> Option<PathBuf> {
    let library = onnxruntime();
    if library.is_none() {
        skip("there is no ONNX Runtime (make setup, or set FCDD_ONNXRUNTIME)");
    }
    library
}

/// The ONNX Runtime library, if there is one.
pub fn onnxruntime() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("FCDD_ONNXRUNTIME") {
        return Some(PathBuf::from(given)).filter(|path| path.exists());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".setup/onnxruntime/onnxruntime/capi");
    let entries = std::fs::read_dir(folder).ok()?;
    let is_library =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so."));
    entries.filter_map(|entry| Some(entry.ok()?.path())).find(is_library)
}

/// The path in the environment variable, or this one below the repository; `None` if it does not exist.
fn from_environment_or(variable: &str, in_repository: &str) -> Option<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(given) => PathBuf::from(given),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(in_repository),
    };
    Some(path).filter(|path| path.exists())
}
