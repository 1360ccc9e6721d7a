//! No room in the middle of a cached scan: one clear error, no half file; with room again the same folder is used.

use std::fs;
use std::path::Path;
use std::process::Command;

use fcdd::analyze::preprocess::InputSpec;
use fcdd::research::archive::Archive;
use fcdd::research::cache::Cache;
use fcdd::study::Sequence;

use crate::archive::{head, write_flair, write_participants};

const SPEC: InputSpec = InputSpec { shape: [40, 48, 40], spacing_mm: 4.0, background: 0.0 };
/// The folder of the test, in the environment of the process that has no room.
const FOLDER: &str = "FCDD_TEST_CACHE_WITHOUT_ROOM";

fn build(folder: &Path) -> Result<Cache, fcdd::research::cache::CacheError> {
    let archive = Archive::read(&folder.join("archive")).unwrap();
    Cache::build(&archive, Sequence::Flair, &SPEC, &folder.join("cache"), &|| {})
}

#[test]
fn no_half_file_is_left_and_the_next_run_goes_on() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let error = build(Path::new(&folder)).unwrap_err().to_string();
        assert!(
            error.contains("cannot use") && error.contains("disk is not full") && error.contains(".vol"),
            "{error}"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    fs::create_dir(&archive).unwrap();
    write_participants(&archive, &[["sub-1", "fcd", "F", "4"], ["sub-2", "hc", "F", "5"]]);
    write_flair(&archive, "sub-1", "1", &head(1));
    write_flair(&archive, "sub-2", "1", &head(2));

    // The same test in a process whose files may have 64 KiB: a scan has 375 KiB.
    let run = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" no_half_file_is_left"])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(String::from_utf8_lossy(&run.stdout).contains("1 passed"));
    let left: Vec<_> = fs::read_dir(folder.path().join("cache")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);

    assert_eq!(build(folder.path()).unwrap().len(), 2);
}
