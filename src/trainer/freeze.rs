//! Which part of the network learns.
//!
//! The network is a row: stem, blocks in order, classifier. What learns is always the end of that row, so everything
//! before one block is frozen: it runs without a backward pass, keeps no activations, and its BatchNorms stay in
//! evaluation mode. The classifier always learns.

use std::fmt;
use std::str::FromStr;

use fcdd::network::NetworkSpec;

/// What learns, besides the classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trainable {
    /// The fourth stage: the paper's "final block and layer" of a pretrained network.
    Layer4,
    /// The last residual block only.
    LastBlock,
    /// Everything: what a network without pretrained weights needs.
    All,
}

impl Trainable {
    /// The name on the command line and in plans.
    pub fn name(self) -> &'static str {
        match self {
            Trainable::Layer4 => "layer4",
            Trainable::LastBlock => "last-block",
            Trainable::All => "all",
        }
    }

    /// Index into [`NetworkSpec::blocks`] of the first block that learns; the stem learns only with
    /// [`Trainable::All`].
    pub fn first_block(self, spec: &NetworkSpec) -> usize {
        let blocks = spec.blocks();
        match self {
            Trainable::All => 0,
            Trainable::Layer4 => {
                blocks.iter().position(|block| block.name.starts_with("layer4.")).unwrap_or(blocks.len())
            }
            Trainable::LastBlock => blocks.len().saturating_sub(1),
        }
    }
}

impl fmt::Display for Trainable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be trained; there are layer4, last-block and all")]
pub struct UnknownTrainable(String);

impl FromStr for Trainable {
    type Err = UnknownTrainable;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Trainable::Layer4, Trainable::LastBlock, Trainable::All]
            .into_iter()
            .find(|trainable| trainable.name() == name)
            .ok_or_else(|| UnknownTrainable(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcdd::network::Architecture;

    #[test]
    fn layer4_begins_with_its_first_block_and_the_last_block_is_one() {
        for (architecture, blocks, layer4) in [
            (Architecture::Resnet10, 4, 3),
            (Architecture::Resnet18, 8, 6),
            (Architecture::Resnet34, 16, 13),
            (Architecture::Resnet50, 16, 13),
        ] {
            let spec = NetworkSpec::paper(architecture, 2);
            assert_eq!(Trainable::Layer4.first_block(&spec), layer4, "{architecture}");
            assert_eq!(Trainable::LastBlock.first_block(&spec), blocks - 1, "{architecture}");
            assert_eq!(Trainable::All.first_block(&spec), 0);
        }
        assert!("layer3".parse::<Trainable>().unwrap_err().to_string().contains("last-block"));
        assert_eq!("last-block".parse(), Ok(Trainable::LastBlock));
    }
}
