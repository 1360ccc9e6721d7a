//! Which networks a grid trains, where each lies, and which file it starts from.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::network::Architecture;
use crate::research::archive::SEQUENCES;
use crate::study::Sequence;

/// The paper's networks, in the order of every table.
pub const ARCHITECTURES: [Architecture; 3] = [Architecture::Resnet18, Architecture::Resnet34, Architecture::Resnet50];

/// Where the weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Random weights: everything is trained.
    None,
    /// MedicalNet, trained on one dataset.
    OneDataset,
    /// MedicalNet, trained on 23 datasets.
    TwentyThreeDatasets,
}

impl Transfer {
    /// In the order of every table.
    pub const ALL: [Transfer; 3] = [Transfer::None, Transfer::OneDataset, Transfer::TwentyThreeDatasets];

    /// `none`, `1` or `23`: part of a folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Transfer::None => "none",
            Transfer::OneDataset => "1",
            Transfer::TwentyThreeDatasets => "23",
        }
    }

    /// As the tables' heads say it.
    pub fn label(self) -> &'static str {
        match self {
            Transfer::None => "no transfer",
            Transfer::OneDataset => "1 dataset",
            Transfer::TwentyThreeDatasets => "23 datasets",
        }
    }
}

impl Serialize for Transfer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One call of `fcdd admin retrain`: a network and its start, for both modalities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Training {
    /// Depth.
    pub architecture: Architecture,
    /// Where it starts.
    pub transfer: Transfer,
}

impl Training {
    /// All of a grid, in the order in which they are trained.
    pub fn all(architectures: &[Architecture]) -> Vec<Training> {
        let of = |&architecture| Transfer::ALL.map(|transfer| Training { architecture, transfer });
        architectures.iter().flat_map(of).collect()
    }

    /// Its two configurations, T1 and FLAIR.
    pub fn configurations(self) -> [Configuration; 2] {
        let Training { architecture, transfer } = self;
        SEQUENCES.map(|sequence| Configuration { architecture, sequence, transfer })
    }

    /// The MedicalNet file that it starts from, under MedicalNet's own name.
    pub fn weights_file(self, one: &Path, twenty_three: &Path) -> Option<PathBuf> {
        let depth = self.architecture.name().trim_start_matches("resnet");
        match self.transfer {
            Transfer::None => None,
            Transfer::OneDataset => Some(one.join(format!("resnet_{depth}.pth"))),
            Transfer::TwentyThreeDatasets => Some(twenty_three.join(format!("resnet_{depth}_23dataset.pth"))),
        }
    }
}

/// The folder's name, e.g. `resnet18-23`.
impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.architecture, self.transfer.name())
    }
}

/// One cell of the tables: a network, a modality, a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// Depth.
    pub architecture: Architecture,
    /// T1 or FLAIR.
    #[serde(rename = "modality")]
    pub sequence: Sequence,
    /// Where it starts.
    pub transfer: Transfer,
}

impl Configuration {
    /// Its run's folder, from that of the grid.
    pub fn folder(self) -> PathBuf {
        let training = Training { architecture: self.architecture, transfer: self.transfer };
        Path::new(&training.to_string()).join(self.sequence.label().to_lowercase())
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.architecture, self.sequence.label(), self.transfer.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighteen_configurations_in_nine_folders_with_medicalnets_names() {
        let trainings = Training::all(&ARCHITECTURES);
        let folders: Vec<PathBuf> =
            trainings.iter().flat_map(|training| training.configurations()).map(Configuration::folder).collect();
        assert_eq!((trainings.len(), folders.len()), (9, 18));
        assert_eq!(folders[2], Path::new("resnet18-1/t1"));
        assert_eq!(folders[17], Path::new("resnet50-23/flair"));
        let files = trainings.iter().filter_map(|training| training.weights_file(Path::new("a"), Path::new("b")));
        let expected = [
            "a/resnet_18.pth",
            "b/resnet_18_23dataset.pth",
            "a/resnet_34.pth",
            "b/resnet_34_23dataset.pth",
            "a/resnet_50.pth",
            "b/resnet_50_23dataset.pth",
        ];
        assert_eq!(files.collect::<Vec<_>>(), expected.map(PathBuf::from));
    }
}
