//! libtorch belongs to `fcdd-trainer` alone: the daemon is not linked to it, and the trainer finds it by itself.

use std::process::Command;

/// What a binary that is linked to libtorch holds in its dynamic section.
const LIBRARY: &[u8] = b"libtorch_cpu.so\0";

fn is_linked_to_libtorch(binary: &str) -> bool {
    let bytes = std::fs::read(binary).unwrap();
    bytes.windows(LIBRARY.len()).any(|window| window == LIBRARY)
}

#[test]
fn the_daemon_is_not_linked_to_libtorch_and_the_trainer_finds_it() {
    assert!(!is_linked_to_libtorch(env!("CARGO_BIN_EXE_fcdd")));

    // A build without the feature `train` has no trainer.
    let Some(trainer) = option_env!("CARGO_BIN_EXE_fcdd-trainer") else { return };
    assert!(is_linked_to_libtorch(trainer), "the search above would find nothing anywhere");
    let command = |device: &str| {
        let mut command = Command::new(trainer);
        command.args(["info", "--json", "--device", device]).env_remove("LD_LIBRARY_PATH");
        command.output().unwrap()
    };
    let output = command("cpu");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["device"], "cpu");

    let refused = command("cuda:99");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("libtorch_cuda.so") || said.contains("CUDA devices"), "{said}");
}
