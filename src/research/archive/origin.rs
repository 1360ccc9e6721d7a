//! Whose scans an archive holds: people's, or computed ones. The word is the dataset's own.
//!
//! `dataset_description.json` above a scan names in `GeneratedBy` what made it; `fcdd phantom` writes its name there.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Whose scans they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Data {
    /// Scans of people.
    People,
    /// Synthetic subjects only.
    Synthetic,
}

/// What the descriptions above some scans say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stated {
    /// Scans that were computed by `fcdd phantom`.
    pub synthetic: usize,
    /// Scans of a dataset that does not say so.
    pub people: usize,
    /// The first scan above which there is no description.
    pub unknown: Option<PathBuf>,
}

impl Stated {
    /// The one answer for all scans; a single scan of a person makes it people. None where a description is missing,
    /// or there is no scan.
    pub fn data(&self) -> Option<Data> {
        match self {
            Stated { unknown: Some(_), .. } | Stated { synthetic: 0, people: 0, .. } => None,
            Stated { people: 0, .. } => Some(Data::Synthetic),
            Stated { .. } => Some(Data::People),
        }
    }
}

/// Looks above each scan for the description of its dataset.
pub fn stated<'a>(scans: impl IntoIterator<Item = &'a Path>) -> Stated {
    let mut stated = Stated::default();
    for scan in scans {
        match description_above(scan) {
            None => stated.unknown = stated.unknown.or_else(|| Some(scan.to_owned())),
            Some(description) if is_phantom(&description) => stated.synthetic += 1,
            Some(_) => stated.people += 1,
        }
    }
    stated
}

fn is_phantom(description: &Value) -> bool {
    let tools = description.get("GeneratedBy").and_then(Value::as_array).into_iter().flatten();
    tools.filter_map(|tool| tool.get("Name")).any(|name| name == "fcdd phantom")
}

fn description_above(path: &Path) -> Option<Value> {
    let text = path.ancestors().skip(1).find_map(|folder| fs::read(folder.join("dataset_description.json")).ok())?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_scan_of_a_person_makes_it_people_and_silence_is_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let anat = folder.path().join(name).join("sub-1").join("anat");
            fs::create_dir_all(&anat).unwrap();
            fs::write(folder.path().join(name).join("dataset_description.json"), text).unwrap();
            anat.join("scan.nii.gz")
        };
        let phantom = write("phantom", r#"{"GeneratedBy": [{"Name": "other"}, {"Name": "fcdd phantom"}]}"#);
        let people = write("people", r#"{"Name": "a study"}"#);
        let broken = write("broken", "{");
        let of = |scans: &[&PathBuf]| stated(scans.iter().map(|scan| scan.as_path())).data();
        assert_eq!(of(&[&phantom, &phantom]), Some(Data::Synthetic));
        assert_eq!(of(&[&phantom, &people]), Some(Data::People));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[&phantom, &broken]), None);
        assert_eq!(stated([broken.as_path()]).unknown, Some(broken));
    }
}
