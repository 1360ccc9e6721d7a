//! Seen from the kernel (strace): an object's bytes are synced before it gets its name, the name is synced before its
//! C-STORE is answered, and the same holds for each result before it goes to a destination. A judge that overlooks a
//! missing sync would prove nothing, so each sync is taken out of the trace once and must be missed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::kill::{SentLog, Sink, Study, cheap_configuration, send};
use crate::scripted_peer::{Peer, dataset};
use crate::support::{Daemon, Exit, require_onnxruntime, require_peer, skip, wait_until};
use crate::system_calls::{Call, TRACED, Way, has_exited, read_trace, safe_each_time, unmissed};

const PATIENCE: Duration = Duration::from_secs(120);

/// Larger than a PDU, than the sockets' buffers, and than what is buffered before the identifiers are known.
const LARGE_BYTES: usize = 6 << 20;

#[test]
fn of_objects_and_of_results() {
    let Some(_) = require_onnxruntime() else { return };
    let Some(strace) = require_peer("strace") else { return };
    if !Command::new(&strace).args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success()) {
        return skip("strace may not trace here (ptrace is forbidden, perhaps by the container)");
    }
    let sink = Sink::start();
    let configuration = cheap_configuration().destination("sink", Sink::AE_TITLE, sink.port);
    let file = configuration.directory().join("trace.txt");
    let traced = format!("trace={TRACED}");
    let output = path_text(&file);
    // -D: what is started stays our child; the tracer is its grandchild.
    let options = ["-D", "-f", "-yy", "-xx", "-s", "700", "-e", "signal=none", "-e", &traced, "-o", &output, "--"];
    let wrapper = [strace.into_os_string()].into_iter().chain(options.map(OsString::from));
    let daemon = Daemon::start(configuration.under(wrapper));
    let address = SocketAddr::from(([127, 0, 0, 1], daemon.port()));

    let study = Arc::new(Study::new(1));
    let sent = SentLog::default();
    send(address, &study, (0..study.objects.len()).collect(), &sent).wait();
    assert!(sent.unanswered(&study).is_empty());
    let other_study = "1.2.840.99999.77";
    let [small, large] = ["1.2.840.99999.77.1.1", "1.2.840.99999.77.1.2"];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut peer = Peer::associated(address).await;
        // Twice the same, then the same UID with other bytes.
        for pixel_bytes in [500, 500, 700] {
            assert_eq!(peer.store(small, &dataset(small, other_study, pixel_bytes)).await.status().0, 0);
        }
        assert_eq!(peer.store(large, &dataset(large, other_study, LARGE_BYTES)).await.status().0, 0);
        peer.release().await;
    });
    let shown = daemon.wait_for_state(&study.study_uid, "delivered", PATIENCE);
    let spool = daemon.spool();
    let process = daemon.id();
    let (exit, _stopped) = daemon.stop(PATIENCE);
    assert_eq!(exit, Exit::Status(0));
    let trace = wait_until("the trace is whole", PATIENCE, || {
        let trace = std::fs::read_to_string(&file).ok()?;
        has_exited(&trace, process).then_some(trace)
    });
    let calls = read_trace(&trace);

    let place = |study: &str, uid: &str| path_text(&spool.join("studies").join(study).join(format!("{uid}.dcm")));
    for object in &study.objects {
        safe(&calls, &object.sop_instance_uid, [place(&study.study_uid, &object.sop_instance_uid)]);
    }
    let in_quarantine = path_text(&spool.join("quarantine").join(format!("{small}.")));
    safe(&calls, small, [place(other_study, small), place(other_study, small), in_quarantine]);
    safe(&calls, large, [place(other_study, large)]);

    let objects = shown["objects"].as_array().unwrap();
    assert_eq!(objects.len(), Study::RESULTS);
    for object in objects {
        let path = path_text(&spool.join(object["path"].as_str().unwrap()));
        safe(&calls, object["sop_instance_uid"].as_str().unwrap(), [path]);
    }
}

/// The UID went out once for each of these places, when the object was safe there; and the judge would miss any of the
/// calls that made it so.
fn safe(calls: &[Call], uid: &str, places: impl IntoIterator<Item = String>) {
    let way = Way { uid: uid.to_owned(), places: places.into_iter().collect() };
    let needed = safe_each_time(calls, &way).unwrap_or_else(|why| panic!("{why}"));
    assert!(needed.len() >= 3 * way.places.len());
    let unmissed = unmissed(calls, &way);
    assert!(unmissed.is_empty(), "nobody missed {unmissed:#?}");
}

fn path_text(path: &Path) -> String {
    path.to_str().expect("test paths are UTF-8").to_owned()
}
