//! Images that come after a study was complete are kept and noted; they change neither its state nor its result.

mod support;

use std::time::Duration;

use support::{Configuration, Daemon, files_below, require_onnxruntime, storescu};

#[test]
fn a_late_slice_is_noted() {
    let Some(_) = require_onnxruntime() else { return };
    let daemon = Daemon::start(Configuration::new());
    let folder = tempfile::tempdir().unwrap();
    let study_uid = support::phantom_study(6, folder.path());
    let files = files_below(folder.path());
    let (late, in_time) = files.split_last().unwrap();
    let in_time: Vec<&std::path::Path> = in_time.iter().map(|p| p.as_path()).collect();
    let Some(sent) = storescu(&in_time, Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    // Without destinations a reported study is delivered at once.
    let before = daemon.wait_for_state(&study_uid, "delivered", Duration::from_secs(120));
    assert_eq!(before["late_instances"], 0);

    let Some(sent) = storescu(&[late], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    let after = daemon.study(&study_uid).unwrap();
    assert_eq!(after["late_instances"], 1);
    assert_eq!(after["state"], "delivered");
    assert_eq!(after["result"], before["result"]);
    let spooled = files_below(&daemon.spool().join("studies").join(&study_uid));
    assert_eq!(spooled.len(), files.len(), "the late image is kept");
}
