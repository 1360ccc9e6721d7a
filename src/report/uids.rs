//! Deterministic UIDs: the same UID always means the same bytes.
//!
//! Everything that can change a result object goes into one canonical text: the inputs, the models, the templates,
//! the configuration that matters, fcdd's version, the content time and the numbers that analysis found. A UID is
//! `2.25.` with a UUIDv5 over that text's digest, the object's kind and its index. Sending a result twice can thus
//! never make a second copy in a PACS, and whatever changes a result gives it new UIDs.
//!
//! [`content_digest`] is that text's digest without the revision: two results that say the same have the same one.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::modules::ContentTime;
use crate::config;
use crate::dicom::{Templates, Uid};
use crate::study::{Analysis, AssembledStudy, ObjectKind, Revision};

/// Namespace of all our UUIDv5, a random UUID that never changes.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0b_5f0c_3b9e_4c52_a6f7_0f5b_8b1d_94e3);

/// Makes the UIDs of one study's results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultUids {
    digest: String,
}

impl ResultUids {
    /// UIDs for these inputs, this outcome and this way to write it down.
    pub fn new(
        study: &AssembledStudy,
        analysis: &Analysis,
        templates: &Templates,
        report: &config::Report,
        content: &ContentTime,
        revision: &Revision,
    ) -> ResultUids {
        let mut text = canonical_text(study, analysis, templates, report, content);
        if let Some(label) = revision.label() {
            let _ = writeln!(text, "{label} of {:?}", revision.predecessor);
        }
        ResultUids { digest: hexadecimal(&Sha256::digest(text.as_bytes())) }
    }

    /// The series of one kind of object.
    pub fn series(&self, kind: ObjectKind) -> Uid {
        self.uid(&format!("series {}", kind.name()))
    }

    /// The object of a kind with this index within its series.
    pub fn instance(&self, kind: ObjectKind, index: usize) -> Uid {
        self.uid(&format!("instance {} {index}", kind.name()))
    }

    /// The tracking UID of a measurement group.
    pub fn tracking(&self, what: &str) -> Uid {
        self.uid(&format!("tracking {what}"))
    }

    fn uid(&self, what: &str) -> Uid {
        Uid::from_uuid(Uuid::new_v5(&NAMESPACE, format!("{} {what}", self.digest).as_bytes()))
    }
}

/// What a result says: the same for the same inputs, models, templates, configuration and findings, whichever of the
/// study's revisions it is. Hexadecimal SHA-256.
pub fn content_digest(
    study: &AssembledStudy,
    analysis: &Analysis,
    templates: &Templates,
    report: &config::Report,
) -> String {
    let content = ContentTime::local(study.received_at);
    hexadecimal(&Sha256::digest(canonical_text(study, analysis, templates, report, &content).as_bytes()))
}

/// The UID of this installation as an observer (TID 1004).
pub fn device_uid(templates: &Templates) -> Uid {
    let text = format!("device {} {}", templates.device.name, templates.device.serial_number);
    Uid::from_uuid(Uuid::new_v5(&NAMESPACE, text.as_bytes()))
}

fn canonical_text(
    study: &AssembledStudy,
    analysis: &Analysis,
    templates: &Templates,
    report: &config::Report,
    content: &ContentTime,
) -> String {
    // `{:?}` of an f64 is its shortest exact form. Writing to a String cannot fail.
    let mut text = format!("fcdd {}\nstudy {}\n", env!("CARGO_PKG_VERSION"), study.study_uid);
    for input in &study.inputs {
        let _ = writeln!(text, "input {} {}", input.sop_instance_uid, hexadecimal(&input.sha256));
    }
    let series = |index: Option<usize>| index.and_then(|i| study.stacks.get(i)).map(|s| s.series_uid.as_str());
    let _ = writeln!(text, "chosen {:?} {:?}", series(study.t1), series(study.flair));
    let none_chosen = study.t1.is_none() && study.flair.is_none();
    let has_a_part = |index: usize| none_chosen || [study.t1, study.flair].contains(&Some(index));
    for (_, stack) in study.stacks.iter().enumerate().filter(|(index, _)| has_a_part(*index)) {
        let _ = writeln!(text, "stack {} {} {:?}", stack.series_uid, stack.index_in_series, stack.verdict);
    }
    let _ = writeln!(text, "templates {}", templates.digest());
    let _ = writeln!(text, "heatmap alpha {:?} threshold {:?}", report.heatmap_alpha, report.heatmap_threshold);
    let _ = writeln!(text, "content {}", content.date_time);
    for outcome in &analysis.outcomes {
        let _ = writeln!(text, "model {:?} {:?}", outcome.sequence, outcome.model);
        let _ = writeln!(
            text,
            "outcome {:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {:?}",
            outcome.probability,
            outcome.fold_probabilities,
            outcome.threshold,
            outcome.prior,
            outcome.logit,
            outcome.decision,
            outcome.heatmap.range_logit,
            outcome.heatmap.constant,
            outcome.regions,
        );
    }
    let _ =
        writeln!(text, "fused {:?}\nverdict {:?}\nremarks {:?}", analysis.fused, analysis.verdict, analysis.remarks);
    text
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
