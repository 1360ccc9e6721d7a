//! `fcdd export --random-init` writes the same bytes for the same seed, on every machine.

use std::process::Command;

use fcdd::network::ModelFolder;

/// Of ResNet-10, width 16, 80×96×80, as an earlier machine wrote them: name (it is in the file), seed, digest.
const SHA256: [(&str, &str, &str); 2] = [
    ("demo-t1", "4", "f20f69d649c3f79a1be3027b9d304294fb1c36f420d99e292acc61da6f245358"),
    ("demo-flair", "5", "a30cb7b8d2b23d79e3346d26d33c2e90702fd097a28a51353caba2c51be988e5"),
];

#[test]
fn a_seed_makes_one_network() {
    let parent = tempfile::tempdir().unwrap();
    for (name, seed, sha256) in SHA256 {
        let output = parent.path().join(seed);
        let exported = Command::new(env!("CARGO_BIN_EXE_fcdd"))
            .args(["export", "--architecture", "resnet10", "--width", "16", "--input", "80,96,80", "--spacing", "2"])
            .args(["--sequence", "t1", "--name", name, "--random-init", seed, "--output"])
            .arg(&output)
            .output()
            .unwrap();
        assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        let model = ModelFolder::load(&output).unwrap();
        assert_eq!(model.manifest().files[0].sha256, sha256, "seed {seed}");
        assert!(!model.manifest().trained);
        assert_eq!(model.manifest().map.shape, [5, 3, 3]);
    }
}
