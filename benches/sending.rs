//! Sending: `fcdd send` beside DCMTK's dcmsend, in turn, the same 1,000 slices to the same sink (storescp that keeps
//! nothing).
//!
//! | row | bar |
//! |---|---|
//! | images per second, TCP_NODELAY=1 on DCMTK's ends | ≥ dcmsend |
//! | the same, DCMTK as installed | ≥ dcmsend |
//!
//! What is timed is the whole process, from its start to its end: reading the files is part of sending them.
//!
//! `cargo bench --bench sending -- --rounds 5 --slices 1000`

#[path = "../tests/support/scripted_peer/mod.rs"]
mod scripted_peer;
#[path = "../tests/support/mod.rs"]
mod support;
mod traffic;

use std::process::{Command, Stdio};
use std::time::Instant;

use support::require_peer;
use traffic::{Storescp, median, on_a_real_disk, range, slices, write_files};

fn main() {
    let (mut rounds, mut count) = (5, 1000);
    traffic::arguments(&mut [("rounds", &mut rounds), ("slices", &mut count)]);
    let folder = on_a_real_disk();
    let Some(dcmsend) = require_peer("dcmsend") else { return };
    let place = tempfile::tempdir_in(folder).expect("a temporary directory can be made");
    let files = write_files(&place.path().join("study"), &slices(0, count));
    println!("sending {count} slices of 132 KB to storescp --ignore, {rounds} rounds in turn; images per second:");
    for (no_delay, number, what) in
        [(true, count, "TCP_NODELAY=1 on DCMTK's ends"), (false, count / 10, "as installed")]
    {
        let Some(sink) = Storescp::start(no_delay, &["--ignore"], place.path()) else { return };
        let files =
            if number == count { files.clone() } else { write_files(&place.path().join("few"), &slices(1, number)) };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut fcdd = Command::new(env!("CARGO_BIN_EXE_fcdd"));
            fcdd.arg("send").arg(&files).args(["--to", &format!("SINK@127.0.0.1:{}", sink.port)]);
            ours.push(rate(&mut fcdd, number));
            let mut peer = Command::new(&dcmsend);
            if no_delay {
                peer.env("TCP_NODELAY", "1");
            }
            peer.args(["+sd", "-aec", "SINK", "127.0.0.1", &sink.port.to_string()]).arg(&files);
            theirs.push(rate(&mut peer, number));
        }
        println!(
            "  {what}: {:.2} times dcmsend (bar: at least 1): {:.0} ({}); dcmsend {:.0} ({}), {number} slices",
            median(&ours) / median(&theirs),
            median(&ours),
            range(&ours),
            median(&theirs),
            range(&theirs)
        );
    }
}

fn rate(command: &mut Command, slices: usize) -> f64 {
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let took = began.elapsed();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{command:?}: {status:?}");
    slices as f64 / took.as_secs_f64()
}
