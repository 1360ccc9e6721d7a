//! The configuration file: what it may say, its defaults, and every mistake in it at once.
//!
//! One TOML file, versioned, unknown fields refused. `config/fcdd.toml` in the repository is the commented
//! example and is parsed by a test.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::study::ObjectKind;

mod load;
pub mod mail;
pub mod private_file;
mod research;
pub mod sequences;
mod validate;

pub use load::{ConfigError, Mistake};
pub use mail::Mail;
pub use research::{PeriodicFolders, Research};

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the file's format; 1.
    #[serde(default)]
    pub version: u32,
    /// Intake.
    #[serde(default)]
    pub receive: Receive,
    /// Durable storage.
    #[serde(default)]
    pub spool: Spool,
    /// When a study is complete, which studies are for us, how series are told apart.
    #[serde(default)]
    pub assemble: Assemble,
    /// Models and devices.
    #[serde(default)]
    pub analyze: Analyze,
    /// Result objects.
    #[serde(default)]
    pub report: Report,
    /// Where results go, by name.
    #[serde(default, rename = "destination")]
    pub destinations: BTreeMap<String, Destination>,
    /// Logging.
    #[serde(default)]
    pub observe: Observe,
    /// The research archive; the daemon itself reads none of it.
    #[serde(default)]
    pub research: Research,
    /// The mail server; none: nothing is ever mailed. The daemon itself mails nothing.
    #[serde(default)]
    pub mail: Option<Mail>,
}

/// Intake of DICOM objects.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receive {
    /// Our AE title.
    pub ae_title: String,
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Called AE titles that are answered; empty: only `ae_title`.
    pub called_ae_titles: Vec<String>,
    /// Calling AE titles that may associate; empty: any.
    pub allowed_calling_ae_titles: Vec<String>,
    /// Peer addresses that may connect; empty: any.
    pub allowed_addresses: Vec<IpAddr>,
    /// Storage SOP classes that are accepted (UIDs); the default is MR, enhanced MR, SC, SR and SEG classes.
    pub sop_classes: Vec<String>,
    /// Associations at once, in total.
    pub max_associations: usize,
    /// Associations at once from one address.
    pub max_associations_per_peer: usize,
    /// Largest PDU that we accept, bytes.
    pub max_pdu_bytes: u32,
    /// Largest object, MiB.
    pub max_object_mib: u64,
    /// Seconds to wait for the A-ASSOCIATE-RQ.
    pub association_request_timeout_s: u64,
    /// Seconds an association may be silent between messages.
    pub idle_timeout_s: u64,
    /// Seconds one object may take.
    pub object_timeout_s: u64,
    /// Seconds an association may last.
    pub association_timeout_s: u64,
    /// Slowest average rate of an object under way, bytes per second, judged after 10 s.
    pub min_bytes_per_s: u64,
}

/// Durable storage.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Directory of the spool and the ledger.
    pub directory: PathBuf,
    /// The directory is on a file system of its own: the daemon starts only where `fcdd prepare-spool` has left its
    /// sentinel.
    pub mounted: bool,
    /// Below this much free space (MiB) the administrator is warned; without: four times `min_free_mib`.
    pub warn_free_mib: Option<u64>,
    /// Below this much free space (MiB) new associations are rejected (transient).
    pub min_free_mib: u64,
    /// Below this much free space (MiB) objects of open associations are refused too (A700H): the rest is for finishing
    /// what is there. Without: a quarter of `min_free_mib`.
    pub reserve_free_mib: Option<u64>,
    /// Days after which studies that are not for analysis leave the spool.
    pub keep_not_for_analysis_days: u32,
    /// Days after which the files of a study leave the spool whose every delivery was stored, counted from its last
    /// image and its last delivery. The ledger remembers the study.
    pub keep_delivered_days: u32,
}

/// Completion, admission and classification of studies.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Assemble {
    /// A study is complete after this many seconds without an image and without an open association for it.
    pub quiet_s: f64,
    /// ... or after this many seconds since its first image.
    pub max_wait_s: f64,
    /// Rules file that classifies series; without it: the rules that fcdd was built with (`config/sequences.toml`).
    pub sequences: Option<PathBuf>,
    /// Rules for which studies are analyzed, first match wins; none matching means: analyze.
    pub admission: Vec<AdmissionRule>,
    /// Seconds that decoding one compressed series may take in its child process.
    pub decode_timeout_s: u64,
    /// Memory limit of the decoding child, MiB.
    pub decode_memory_mib: u64,
}

/// One admission rule; patterns are regular expressions without regard to case, all that are given must match.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionRule {
    /// `analyze` or `ignore`.
    pub action: AdmissionAction,
    /// Calling AE title of the sender.
    #[serde(default)]
    pub calling_ae: Option<String>,
    /// Study Description.
    #[serde(default)]
    pub study_description: Option<String>,
    /// Protocol Name of any series.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Series Description of any series.
    #[serde(default)]
    pub series_description: Option<String>,
}

/// What an admission rule does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdmissionAction {
    /// The study goes on to analysis.
    #[default]
    Analyze,
    /// The study is kept as "not for analysis" and expires.
    Ignore,
}

/// Models and devices.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Analyze {
    /// Model folders, at most one per sequence.
    pub models: Vec<PathBuf>,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: Device,
    /// Threads per inference; 0: as many as cores.
    pub threads: usize,
    /// Threshold on the fused probability (at the training prevalence) when both modalities ran.
    pub fused_threshold: f64,
    /// Scale and offset of the mean calibrated logit when both modalities ran: fused logit = scale · mean + offset.
    pub fused_calibration: [f64; 2],
    /// Share of FCD among the patients whom this site examines, strictly between 0 and 1: what shown probabilities
    /// assume. Without it: each model's training prevalence. It moves no verdict.
    pub site_prevalence: Option<f64>,
    /// The ONNX Runtime library; without it: `FCDD_ONNXRUNTIME`, then the places that the README names.
    pub onnxruntime: Option<PathBuf>,
    /// Whether a model whose provider fails while a study is analyzed is opened again on the next provider that
    /// `device` allows. Results then say so. Without it the study fails, with a report that says why.
    pub fall_back_in_mid_run: bool,
    /// How often the analysis of one study may be begun before it is failed (a study that kills the process).
    pub max_attempts: u32,
}

/// Where inference runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The best provider that works: TensorRT, CUDA, OpenVINO, CPU; which one and why is logged.
    #[default]
    Auto,
    /// OpenVINO or ONNX Runtime's own CPU kernels.
    Cpu,
    /// The CUDA device with this index, or an error.
    Cuda(u32),
}

/// Result objects.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Report {
    /// Directory with the texts, codes and series numbers of the result objects; without it: those that fcdd was
    /// built with (`dicom-templates/`).
    pub templates: Option<PathBuf>,
    /// Opacity of the heatmap where it is strongest, 0..1.
    pub heatmap_alpha: f64,
    /// Display values below this are left uncoloured, 0..1.
    pub heatmap_threshold: f64,
}

/// One receiver of results.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Destination {
    /// Its AE title.
    pub ae_title: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The AE title we call from; default: our own.
    pub calling_ae_title: Option<String>,
    /// Which objects it gets.
    pub objects: Vec<ObjectKind>,
    /// Only studies that came from these calling AE titles; empty: all.
    pub only_from_ae: Vec<String>,
    /// Only studies whose description matches this regular expression (without regard to case).
    pub only_study_description: Option<String>,
    /// Results of untrained demonstration models go to loopback only, unless this says otherwise.
    pub allow_untrained: bool,
    /// Seconds to wait for any answer.
    pub timeout_s: u64,
    /// First wait before a retry, seconds; it doubles up to `max_retry_s`.
    pub retry_s: f64,
    /// Longest wait between retries, seconds.
    pub max_retry_s: f64,
}

/// Logging.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Observe {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,fcdd::receive=debug`.
    pub log: String,
    /// One JSON object per line instead of text.
    pub json: bool,
    /// Seconds that a stop may take before work in flight is left for the next start.
    pub drain_s: f64,
}

impl Default for Receive {
    fn default() -> Self {
        Receive {
            ae_title: String::new(),
            listen: SocketAddr::from(([0, 0, 0, 0], 11112)),
            called_ae_titles: Vec::new(),
            allowed_calling_ae_titles: Vec::new(),
            allowed_addresses: Vec::new(),
            sop_classes: DEFAULT_SOP_CLASSES.iter().map(|(uid, _)| (*uid).to_owned()).collect(),
            max_associations: 64,
            max_associations_per_peer: 16,
            max_pdu_bytes: 131_072,
            max_object_mib: 2048,
            association_request_timeout_s: 10,
            idle_timeout_s: 60,
            object_timeout_s: 600,
            association_timeout_s: 14_400,
            min_bytes_per_s: 1024,
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Spool {
            directory: PathBuf::new(),
            mounted: false,
            warn_free_mib: None,
            min_free_mib: 2048,
            reserve_free_mib: None,
            keep_not_for_analysis_days: 2,
            keep_delivered_days: 30,
        }
    }
}

impl Spool {
    /// The three steps of back-pressure.
    pub fn steps(&self) -> crate::spool::room::Steps {
        crate::spool::room::Steps {
            warn_mib: self.warn_free_mib.unwrap_or(self.min_free_mib.saturating_mul(4)),
            min_mib: self.min_free_mib,
            reserve_mib: self.reserve_free_mib.unwrap_or(self.min_free_mib / 4),
        }
    }
}

impl Default for Analyze {
    fn default() -> Self {
        Analyze {
            models: Vec::new(),
            device: Device::Auto,
            threads: 0,
            fused_threshold: 0.5,
            fused_calibration: [1.0, 0.0],
            site_prevalence: None,
            onnxruntime: None,
            fall_back_in_mid_run: false,
            max_attempts: 3,
        }
    }
}

impl Default for Destination {
    fn default() -> Self {
        Destination {
            ae_title: String::new(),
            host: String::new(),
            port: 0,
            calling_ae_title: None,
            objects: ObjectKind::ALL.to_vec(),
            only_from_ae: Vec::new(),
            only_study_description: None,
            allow_untrained: false,
            timeout_s: 60,
            retry_s: 5.0,
            max_retry_s: 3600.0,
        }
    }
}

impl Default for Assemble {
    fn default() -> Self {
        Assemble {
            quiet_s: 60.0,
            max_wait_s: 3600.0,
            sequences: None,
            admission: Vec::new(),
            decode_timeout_s: 120,
            decode_memory_mib: 2048,
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Report { templates: None, heatmap_alpha: 0.6, heatmap_threshold: 0.2 }
    }
}

impl Default for Observe {
    fn default() -> Self {
        Observe { log: "info".into(), json: false, drain_s: 30.0 }
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Device::Auto),
            None if text == "cpu" => Ok(Device::Cpu),
            None if text == "cuda" => Ok(Device::Cuda(0)),
            Some(("cuda", n)) => n.parse().map(Device::Cuda).map_err(|_| format!("{n:?} is not a CUDA device number")),
            _ => Err(format!("{text:?} is not a device; allowed are auto, cpu, cuda and cuda:N")),
        }
    }
}

/// Storage SOP classes accepted by default, with their names (PS3.4 annex B.5).
pub const DEFAULT_SOP_CLASSES: [(&str, &str); 16] = [
    ("1.2.840.10008.5.1.4.1.1.4", "MR Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.4.1", "Enhanced MR Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.4.3", "Enhanced MR Color Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.4.4", "Legacy Converted Enhanced MR Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.4.2", "MR Spectroscopy Storage"),
    ("1.2.840.10008.5.1.4.1.1.7", "Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.1", "Multi-frame Single Bit Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.2", "Multi-frame Grayscale Byte Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.3", "Multi-frame Grayscale Word Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.4", "Multi-frame True Color Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.22", "Enhanced SR Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.34", "Comprehensive 3D SR Storage"),
    ("1.2.840.10008.5.1.4.1.1.66", "Raw Data Storage"),
    ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation Storage"),
];
