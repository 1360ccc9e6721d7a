//! `fcdd-trainer check-weights`: do weights to start from fit a network?

use std::path::PathBuf;
use std::process::ExitCode;

use fcdd::network::{Architecture, NetworkSpec};

use super::pretrained;

/// Arguments of `fcdd-trainer check-weights`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd-trainer check-weights resnet_18_23dataset.pth --architecture resnet18")]
pub struct Args {
    /// A MedicalNet `.pth` file, or the `checkpoint_best` of a run
    file: PathBuf,
    /// resnet10, resnet18, resnet34 or resnet50
    #[arg(long)]
    architecture: Architecture,
    /// Channels of the stem; MedicalNet's networks have 64
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Loads the file and says what it holds; 1 when it does not fit.
///
/// # Errors
/// When the file does not fit, naming the key.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let spec = NetworkSpec::paper(args.architecture, args.width);
    let loaded = pretrained::load(&args.file, &spec, 0)?;
    if args.json {
        let said = serde_json::json!({
            "architecture": args.architecture.name(),
            "width": spec.width,
            "tensors": loaded.tensor_count,
            "ignored": loaded.ignored,
            "sha256": loaded.sha256,
        });
        println!("{said:#}");
    } else {
        println!("{} of width {}: {} tensors fit", args.architecture, spec.width, loaded.tensor_count);
        println!("ignored by rule: {}", loaded.ignored.len());
        println!("SHA-256: {}", loaded.sha256);
    }
    Ok(ExitCode::SUCCESS)
}
