//! A model's manifest: whatever is accepted describes a network that exists, and is written and read back unchanged.

use super::Target;
use crate::network::manifest::Manifest;

pub(super) const TARGET: Target =
    Target { name: "manifest", run, seeds, must_reach: &["accepted", "wrong field", "wrong syntax"] };

fn run(bytes: &[u8]) -> &'static str {
    let manifest = match Manifest::from_toml(&String::from_utf8_lossy(bytes)) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal says why");
            return match error {
                crate::network::manifest::ManifestError::Syntax(_) => "wrong syntax",
                crate::network::manifest::ManifestError::Field { .. } => "wrong field",
            };
        }
    };
    let written = manifest.to_toml();
    let again = Manifest::from_toml(&written).unwrap_or_else(|e| panic!("what was written is refused: {e}\n{written}"));
    assert_eq!(again, manifest, "what was written is another manifest");
    assert_eq!(again.to_toml(), written, "equal manifests are equal bytes");
    // What the engine will compute with.
    let spec = manifest.spec();
    assert!(spec.blocks().iter().all(|block| block.out_channels() > 0));
    assert!(manifest.cell_mm().iter().all(|mm| mm.is_finite() && *mm > 0.0), "{:?}", manifest.cell_mm());
    for logit in [-1e3, -1.0, 0.0, 1.0, 1e3] {
        let probability = manifest.calibration.probability(logit);
        assert!((0.0..=1.0).contains(&probability), "logit {logit} becomes probability {probability}");
    }
    if let Some(distribution) = &manifest.distribution {
        let distance = distribution.distance(&distribution.mean);
        assert!(distance == 0.0, "the mean scan lies {distance} off the mean");
    }
    "accepted"
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let models = [
        ("t1.toml", include_str!("../../models/demo-t1/manifest.toml")),
        ("flair.toml", include_str!("../../models/demo-flair/manifest.toml")),
    ];
    let mut seeds: Vec<(String, Vec<u8>)> = models.map(|(name, text)| (name.to_owned(), text.into())).into();
    let [(_, text), _] = models;
    let minimal = text.split("[distribution]").next().unwrap_or_default();
    seeds.push(("syntax.toml".to_owned(), minimal.replace("[input]", "[input").into()));
    seeds.push(("field.toml".to_owned(), text.replace("\"RAS\"", "\"LPS\"").into()));
    let faithful = text.replace("geometry = \"paper\"", "geometry = \"faithful\"");
    seeds.push(("faithful.toml".to_owned(), faithful.into()));
    seeds
}
