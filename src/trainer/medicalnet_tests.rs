//! MedicalNet files as PyTorch writes them (`tests/trainer/make_pth.py`): each container, each depth, every mistake.

use std::path::Path;
use std::process::Command;

use fcdd::network::{Architecture, NetworkSpec};

use super::golden_network::formula_weights;
use super::medicalnet::{MedicalNetError, load};

#[allow(dead_code)]
#[path = "../../tests/support/prerequisites.rs"]
mod prerequisites;

/// Exit status of the script where PyTorch is not installed.
const NO_TORCH: i32 = 77;

fn make_files() -> Option<tempfile::TempDir> {
    let python = prerequisites::python()?;
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trainer/make_pth.py");
    // The trainer's own libtorch must not take the place of PyTorch's.
    let made = Command::new(python).arg("-B").arg(script).arg(folder.path()).env_remove("LD_LIBRARY_PATH").output();
    let made = made.unwrap();
    if made.status.code() == Some(NO_TORCH) {
        prerequisites::skip("the tests' Python has no PyTorch (make setup-test)");
        return None;
    }
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(folder)
}

#[test]
fn files_of_each_container_and_depth_load_and_wrong_ones_are_refused_by_name() {
    let Some(folder) = make_files() else { return };
    let file = |name: &str| folder.path().join(name);
    for architecture in Architecture::ALL {
        let spec = NetworkSpec::paper(architecture, 2);
        let golden = formula_weights(&spec);
        for container in ["zip", "legacy", "zip_cuda0", "legacy_cuda0"] {
            let what = format!("{architecture} {container}");
            let loaded = load(&file(&format!("{architecture}_{container}.pth")), &spec, 5).expect(&what);
            let expected = golden.tensors().len() - 2;
            assert_eq!(loaded.tensor_count, expected, "{what}");
            assert_eq!(loaded.sha256.len(), 64, "{what}");
            assert!(loaded.ignored.iter().any(|key| key == "module.conv_seg.0.weight"), "{what}");
            for (name, tensor) in loaded.weights.tensors() {
                // The classifier is fresh: not the file's, and the seed's.
                assert_eq!(tensor == golden.get(name).unwrap(), !name.starts_with("fc."), "{what}: {name}");
            }
        }
    }

    let spec = NetworkSpec::paper(Architecture::Resnet18, 2);
    let good = file("resnet18_legacy.pth");
    let classifier = |seed| load(&good, &spec, seed).unwrap().weights.get("fc.weight").unwrap().clone();
    assert_eq!(classifier(1), classifier(1));
    assert_ne!(classifier(1), classifier(2));

    let refused = |name: &str, spec: &NetworkSpec, said: &[&str]| {
        let error = load(&file(name), spec, 0).unwrap_err().to_string();
        assert!(said.iter().chain(&[name]).all(|part| error.contains(part)), "{name}: {error}");
    };
    refused("missing.pth", &spec, &["layer3.1.bn2.running_var", "missing"]);
    refused("unexpected.pth", &spec, &["layer5.0.conv1.weight", "no parameter"]);
    refused("with_fc.pth", &spec, &["fc.weight"]);
    refused("no_state_dict.pth", &spec, &["state_dict"]);
    refused("double.pth", &spec, &["module.conv1.weight", "F64"]);
    refused("not_finite.pth", &spec, &["layer1.0.conv1.weight", "not finite"]);
    // Another width, another depth.
    let wide = NetworkSpec::paper(Architecture::Resnet18, 64);
    refused("resnet18_zip.pth", &wide, &["conv1.weight", "width 64", "[2, 1, 7, 7, 7]", "[64, 1, 7, 7, 7]"]);
    refused("resnet34_zip.pth", &spec, &["layer1.2.", "resnet18"]);
    refused("resnet18_zip.pth", &NetworkSpec::paper(Architecture::Resnet34, 2), &["layer1.2.", "resnet34", "missing"]);
    refused("resnet10_legacy.pth", &spec, &["resnet18"]);
    refused("resnet50_legacy.pth", &spec, &["resnet18"]);

    for container in ["zip", "legacy"] {
        let bytes = std::fs::read(file(&format!("resnet18_{container}.pth"))).unwrap();
        for length in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
            let path = file(&format!("cut_{container}_{length}.pth"));
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = load(&path, &spec, 0).unwrap_err();
            assert!(matches!(error, MedicalNetError::Container { .. }), "{length} bytes of {container}: {error}");
            assert!(error.to_string().contains("cut short"), "{error}");
        }
    }
    let absent = load(&file("nowhere.pth"), &spec, 0).unwrap_err();
    assert!(matches!(absent, MedicalNetError::Io { .. }) && absent.to_string().contains("nowhere.pth"), "{absent}");
}
