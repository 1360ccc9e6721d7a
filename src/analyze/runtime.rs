//! Finds and loads ONNX Runtime, and knows its execution providers: which ones a device setting allows, in
//! which order, and how each is registered so that it either runs or says why it does not.
//!
//! The library is loaded when the first model is, never linked: hospitals build without network. There is one
//! per process. Providers are registered one at a time on a fresh session builder, with the fallback to CPU
//! kernels forbidden, because ONNX Runtime otherwise falls back **silently**.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider};
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use crate::config::Device;
use crate::network::manifest::Precision;

/// Environment variable that names the library, or the directory in which it lies.
pub const LIBRARY_VARIABLE: &str = "FCDD_ONNXRUNTIME";
/// Directories in which it is looked for after that; the relative one (a checkout's) from the working directory.
const DIRECTORIES: [&str; 3] =
    [".setup/onnxruntime/onnxruntime/capi", "/usr/local/lib/fcdd/onnxruntime/capi", "/usr/lib/fcdd/onnxruntime/capi"];
/// Where `make install` puts it, from the program's own prefix.
const BELOW_PREFIX: &str = "lib/fcdd/onnxruntime/capi";
const LIBRARY_PREFIX: &str = "libonnxruntime.so";

/// Why ONNX Runtime is not there.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// In none of the places.
    #[error(
        "no {LIBRARY_PREFIX}* found; looked in {places}. Install it (`pip install --target DIR onnxruntime-openvino`) and \
         set `analyze.onnxruntime` in the configuration or {LIBRARY_VARIABLE} to the library"
    )]
    NotFound {
        /// Every place, in order.
        places: String,
    },
    /// The place that was named has no library.
    #[error("{named_by} names {path}, where there is no {LIBRARY_PREFIX}*")]
    NotThere {
        /// Who named it.
        named_by: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// It is there and does not load.
    #[error("cannot load ONNX Runtime from {path}: {reason}")]
    Load {
        /// The library.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
}

static LOADED: Mutex<Option<Environment>> = Mutex::new(None);

/// The process's ONNX Runtime; loaded on the first call, whose `configured` path decides for the whole process.
///
/// # Errors
/// See [`RuntimeError`]; a later call may try again.
pub fn environment(configured: Option<&Path>) -> Result<Environment, RuntimeError> {
    let mut loaded = LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(environment) = loaded.as_ref() {
        return Ok(environment.clone());
    }
    let path = find_library(configured)?;
    let failed = |reason: String| RuntimeError::Load { path: path.clone(), reason };
    let environment = ort::init_from(&path)
        .map_err(|e| failed(e.to_string()))?
        .with_name("fcdd")
        .with_telemetry(false)
        .build()
        .map_err(|e| failed(e.to_string()))?;
    environment.set_log_level(ort::logging::LogLevel::Warning);
    tracing::info!(library = %path.display(), "ONNX Runtime loaded");
    *loaded = Some(environment.clone());
    Ok(environment)
}

/// A place that somebody named must have the library; the usual places may.
fn find_library(configured: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    let from_variable = std::env::var_os(LIBRARY_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
    let named = [
        ("analyze.onnxruntime in the configuration", configured.map(Path::to_owned)),
        (LIBRARY_VARIABLE, from_variable),
    ];
    for (named_by, path) in named {
        if let Some(path) = path {
            return library_at(&path).ok_or(RuntimeError::NotThere { named_by, path });
        }
    }
    let executable = std::env::current_exe().unwrap_or_default();
    let beside = executable.parent().map(Path::to_owned);
    let below_prefix = executable.ancestors().nth(2).map(|prefix| prefix.join(BELOW_PREFIX));
    let directories: Vec<PathBuf> =
        beside.into_iter().chain(below_prefix).chain(DIRECTORIES.map(PathBuf::from)).collect();
    if let Some(library) = directories.iter().find_map(|d| library_at(d)) {
        // `ort` takes a relative path as relative to the executable.
        return Ok(std::path::absolute(&library).unwrap_or(library));
    }
    let mut places = vec!["analyze.onnxruntime (not set)".to_owned(), format!("{LIBRARY_VARIABLE} (not set)")];
    places.extend(directories.iter().map(|d| d.display().to_string()));
    Err(RuntimeError::NotFound { places: places.join(", ") })
}

/// The file itself, or the library of the highest version in the directory.
fn library_at(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    let version = |p: &PathBuf| -> Vec<u32> {
        let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split('.').filter_map(|part| part.parse().ok()).collect()
    };
    let entries = std::fs::read_dir(path).ok()?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.is_file() && p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(LIBRARY_PREFIX)))
        .max_by_key(version)
}

/// NVIDIA's switch against tf32 for a whole process; ONNX Runtime has none of its own for TensorRT.
const TF32_VARIABLE: &str = "NVIDIA_TF32_OVERRIDE";

fn tf32_is_overridden() -> bool {
    std::env::var_os(TF32_VARIABLE).is_some_and(|v| v == "0")
}

/// The name of an arithmetic in manifests and results.
pub fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "fp32",
        Precision::Bf16 => "bf16",
    }
}

/// An execution provider on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// TensorRT on the CUDA device with this index.
    TensorRt(u32),
    /// CUDA on the device with this index.
    Cuda(u32),
    /// OpenVINO on the CPU.
    OpenVino,
    /// ONNX Runtime's own CPU kernels.
    Cpu,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Provider::TensorRt(0) => f.write_str("TensorRT"),
            Provider::TensorRt(n) => write!(f, "TensorRT:{n}"),
            Provider::Cuda(0) => f.write_str("CUDA"),
            Provider::Cuda(n) => write!(f, "CUDA:{n}"),
            Provider::OpenVino => f.write_str("OpenVINO"),
            Provider::Cpu => f.write_str("CPU"),
        }
    }
}

impl Provider {
    /// What a device setting allows, in the order in which it is tried.
    pub fn candidates(device: Device) -> Vec<Provider> {
        match device {
            Device::Auto => vec![Provider::TensorRt(0), Provider::Cuda(0), Provider::OpenVino, Provider::Cpu],
            Device::Cpu => vec![Provider::OpenVino, Provider::Cpu],
            Device::Cuda(n) => vec![Provider::Cuda(n)],
        }
    }

    /// What comes after this one in what a device setting allows.
    pub fn candidates_after(self, device: Device) -> Vec<Provider> {
        let mut candidates = Provider::candidates(device);
        let first_left = candidates.iter().position(|candidate| *candidate == self).map_or(candidates.len(), |i| i + 1);
        candidates.split_off(first_left)
    }

    /// The arithmetic in which this provider may run a model validated for `validated`, or why it may not.
    pub fn precision(self, validated: &BTreeSet<Precision>) -> Result<Precision, String> {
        match self {
            Provider::TensorRt(_) if !tf32_is_overridden() => Err(format!(
                "TensorRT multiplies in tf32, for which no model is validated, unless the whole process runs with \
                 {TF32_VARIABLE}=0"
            )),
            Provider::OpenVino if validated.contains(&Precision::Bf16) && cpu_has_bf16() => Ok(Precision::Bf16),
            _ if validated.contains(&Precision::Fp32) => Ok(Precision::Fp32),
            _ => Err("it would run in fp32, for which the manifest does not validate the model".to_owned()),
        }
    }

    /// Whether the stem's [rewritten form](crate::network::stem_rewrite) is the faster one here: where pairs of channels
    /// are multiplied at once, which is bfloat16 on the CPU.
    pub fn wants_blocked_stem(self, precision: Precision) -> bool {
        self == Provider::OpenVino && precision == Precision::Bf16
    }

    /// A session on this provider and no other.
    ///
    /// # Errors
    /// ONNX Runtime's words: the provider is not compiled in, its driver is missing, a node is not supported.
    pub fn open(
        self,
        environment: &Environment,
        onnx: &[u8],
        precision: Precision,
        threads: usize,
    ) -> Result<Session, ort::Error> {
        let mut builder = Session::builder(environment)?.with_intra_threads(threads)?;
        if self != Provider::Cpu {
            builder = builder.with_config_entry("session.disable_cpu_ep_fallback", "1")?;
        }
        self.register(&mut builder, precision, threads)?;
        builder.commit_from_memory(onnx)
    }

    fn register(self, builder: &mut SessionBuilder, precision: Precision, threads: usize) -> Result<(), ort::Error> {
        let device_id = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        match self {
            Provider::TensorRt(n) => ep::TensorRT::default().with_device_id(device_id(n)).register(builder),
            Provider::Cuda(n) => ep::CUDA::default().with_device_id(device_id(n)).with_tf32(false).register(builder),
            Provider::OpenVino => {
                let hint = if precision == Precision::Bf16 { "bf16" } else { "f32" };
                let settings = serde_json::json!({
                    "CPU": { "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads.to_string() }
                });
                ep::OpenVINO::default()
                    .with_device_type("CPU")
                    .with_arbitrary_config("load_config", settings)
                    .register(builder)
            }
            Provider::Cpu => Ok(()),
        }
    }
}

/// Whether this processor multiplies bfloat16 in hardware.
fn cpu_has_bf16() -> bool {
    let Ok(cpuinfo) = std::fs::read_to_string("/proc/cpuinfo") else { return false };
    cpuinfo.split_ascii_whitespace().any(|flag| flag == "avx512_bf16" || flag == "amx_bf16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_gpu_has_no_second_choice() {
        assert_eq!(Provider::candidates(Device::Cuda(1)), [Provider::Cuda(1)]);
        assert_eq!(Provider::candidates(Device::Cpu), [Provider::OpenVino, Provider::Cpu]);
    }

    #[test]
    fn nothing_runs_in_an_arithmetic_that_was_not_validated() {
        let only = |p: Precision| BTreeSet::from([p]);
        assert_eq!(Provider::Cuda(0).precision(&only(Precision::Fp32)), Ok(Precision::Fp32));
        assert_eq!(Provider::OpenVino.precision(&only(Precision::Fp32)), Ok(Precision::Fp32));
        assert!(Provider::Cpu.precision(&only(Precision::Bf16)).is_err());
        let tensorrt = Provider::TensorRt(0).precision(&only(Precision::Fp32));
        assert!(tf32_is_overridden() || tensorrt.unwrap_err().contains("tf32"));
    }

    #[test]
    fn the_stem_is_rewritten_where_it_helps_and_nowhere_else() {
        let candidates = Provider::candidates(Device::Auto);
        let wants = |precision| candidates.iter().copied().filter(move |p| p.wants_blocked_stem(precision));
        assert_eq!(wants(Precision::Bf16).collect::<Vec<_>>(), [Provider::OpenVino]);
        assert_eq!(wants(Precision::Fp32).count(), 0);
    }

    #[test]
    fn the_highest_version_in_a_directory_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.24.1", "libonnxruntime_providers_shared.so"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let found = library_at(directory.path()).unwrap();
        assert!(found.ends_with("libonnxruntime.so.1.24.1"), "{found:?}");
        assert!(library_at(Path::new("/nowhere/at/all")).is_none());
    }

    #[test]
    fn a_place_that_was_named_must_have_it() {
        let error = find_library(Some(Path::new("/nowhere/at/all"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("analyze.onnxruntime"), "{error}");
    }
}
