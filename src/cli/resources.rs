//! Where the files that come with fcdd lie: in a checkout, or where a package installs them.

use std::path::PathBuf;

use anyhow::bail;

/// The demonstration models: `models/` below the working directory, then beside the installed program.
pub fn demo_models() -> anyhow::Result<Vec<PathBuf>> {
    let mut places = vec![PathBuf::from("models")];
    if let Ok(program) = std::env::current_exe() {
        // <prefix>/bin/fcdd -> <prefix>/share/fcdd/models; target/<profile>/fcdd -> models
        for up in program.ancestors().skip(2).take(2) {
            places.push(up.join("share/fcdd/models"));
            places.push(up.join("models"));
        }
    }
    places.push(PathBuf::from("/usr/share/fcdd/models"));
    for place in &places {
        let models = [place.join("demo-t1"), place.join("demo-flair")];
        if models.iter().all(|m| m.join("manifest.toml").is_file()) {
            return Ok(models.to_vec());
        }
    }
    let looked = places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    bail!("the demonstration models are not there (looked in {looked}); name model folders with --model")
}
