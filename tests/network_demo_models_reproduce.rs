//! The demonstration models in the repository are what `fcdd export` writes, byte for byte.

use std::path::{Path, PathBuf};
use std::process::Command;

use fcdd::network::ModelFolder;

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

fn assert_reproduces(name: &str, sequence: &str, seed: &str) {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join(name);
    let status = Command::new(env!("CARGO_BIN_EXE_fcdd"))
        .args(["export", "--architecture", "resnet10", "--width", "16", "--input", "80,96,80", "--spacing", "2"])
        .args(["--sequence", sequence, "--name", name, "--random-init", seed, "--output"])
        .arg(&output)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    for file in ["manifest.toml", "fold_0.onnx"] {
        let (old, new) =
            (std::fs::read(committed(name).join(file)).unwrap(), std::fs::read(output.join(file)).unwrap());
        assert!(old == new, "{name}/{file}: the committed file is not what the exporter writes");
    }
    let model = ModelFolder::load(&committed(name)).unwrap();
    assert!(!model.manifest().trained);
    assert_eq!(model.manifest().map.shape, [5, 3, 3]);
}

#[test]
fn demo_t1_is_exported_with_seed_4() {
    assert_reproduces("demo-t1", "t1", "4");
}

#[test]
fn demo_flair_is_exported_with_seed_5() {
    assert_reproduces("demo-flair", "flair", "5");
}
