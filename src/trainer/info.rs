//! `fcdd-trainer info`: does libtorch work here, and on what?

use std::process::ExitCode;

use tch::{Cuda, Kind, Tensor};

use super::device;

/// Arguments of `fcdd-trainer info`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd-trainer info --device auto")]
pub struct Args {
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Computes a sum on the device and says where that was.
///
/// # Errors
/// When the device cannot be had.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = device::select(&args.device)?;
    let two = f64::try_from(Tensor::f_ones([2], (Kind::Float, device))?.f_sum(Kind::Float)?)?;
    anyhow::ensure!(two == 2.0, "libtorch computes 1 + 1 = {two} on {}", device::name(device));
    let cuda_devices = if device.is_cuda() { Cuda::device_count() } else { 0 };
    if args.json {
        let said = serde_json::json!({
            "device": device::name(device),
            "cuda_devices": cuda_devices,
            "threads": tch::get_num_threads(),
            "onednn": tch::utils::has_mkldnn(),
        });
        println!("{said:#}");
    } else {
        println!(
            "computes on {} ({} threads, {cuda_devices} CUDA devices)",
            device::name(device),
            tch::get_num_threads()
        );
    }
    Ok(ExitCode::SUCCESS)
}
