//! Assemble → analyze → report as one call. The daemon and `fcdd analyze` run a study through the same
//! pipeline; they differ in where files come from and where results go.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::analyze::{AnalyzeError, Engine};
use crate::assemble;
use crate::assemble::{AssembleError, Assembly, DecodeLimits, Options, VolumesWanted};
use crate::config;
use crate::config::sequences::{SequenceRules, SequenceRulesError};
use crate::dicom::{TemplateError, Templates, Uid};
use crate::report::{self, ReportError};
use crate::study::{Analysis, AssembledStudy, Reason, RenderedObject, Revision, Verdict};

/// What a study's way needs besides the study.
pub struct Pipeline {
    rules: SequenceRules,
    decode: DecodeLimits,
    engine: Engine,
    templates: Templates,
    report: config::Report,
}

/// What cannot be set up, or failed on the way.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The rules that classify series.
    #[error(transparent)]
    Rules(#[from] SequenceRulesError),
    /// The texts and codes of the result objects.
    #[error(transparent)]
    Templates(#[from] TemplateError),
    /// Series to volumes.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// Models, devices, inference.
    #[error(transparent)]
    Analyze(#[from] AnalyzeError),
    /// Result objects.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// A study that went the whole way.
pub struct Finished {
    /// Its volumes and their verdicts.
    pub study: AssembledStudy,
    /// What was found.
    pub analysis: Analysis,
    /// What the result says, whichever revision it is.
    pub content_digest: String,
    /// Which of the study's results it is.
    pub revision: Revision,
    /// The result objects, on disk.
    pub objects: Vec<RenderedObject>,
}

impl PipelineError {
    /// Whether it is the disk's fault and not the study's: the same study may go through later.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, PipelineError::Report(ReportError::Spool(_)))
    }
}

impl Pipeline {
    /// Loads rules, templates and models, and warms the models up.
    pub fn load(
        assemble: &config::Assemble,
        analyze: &config::Analyze,
        report: &config::Report,
    ) -> Result<Pipeline, PipelineError> {
        Ok(Pipeline {
            rules: match &assemble.sequences {
                Some(file) => SequenceRules::load(file)?,
                None => SequenceRules::built_in(),
            },
            decode: DecodeLimits {
                timeout: Duration::from_secs(assemble.decode_timeout_s),
                memory_mib: assemble.decode_memory_mib,
                executable: None,
            },
            templates: match &report.templates {
                Some(directory) => Templates::load(directory)?,
                None => Templates::built_in(),
            },
            engine: Engine::load(analyze)?,
            report: report.clone(),
        })
    }

    /// How result objects are drawn.
    pub fn report_config(&self) -> &config::Report {
        &self.report
    }

    /// The inference engine, for its models' identities.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The texts and codes of the result objects.
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// Turns one study's files into the volumes that will be analyzed, and a verdict on each series.
    pub fn assemble(&self, study_uid: &Uid, files: &[PathBuf]) -> Result<AssembledStudy, PipelineError> {
        self.assemble_with(study_uid, files, VolumesWanted::Chosen)
    }

    /// The same without looking at a pixel, and so without volumes: enough for a report that says why there is nothing
    /// to say.
    pub fn assemble_headers(&self, study_uid: &Uid, files: &[PathBuf]) -> Result<AssembledStudy, PipelineError> {
        self.assemble_with(study_uid, files, VolumesWanted::None)
    }

    fn assemble_with(
        &self,
        study_uid: &Uid,
        files: &[PathBuf],
        volumes: VolumesWanted,
    ) -> Result<AssembledStudy, PipelineError> {
        let (study, _left_out_and_logged) =
            assemble::assemble_study(study_uid, files, &self.rules, &self.decode, volumes)?;
        Ok(study)
    }

    /// The same for files of any number of studies.
    pub fn assemble_all(&self, files: &[PathBuf]) -> Assembly {
        let (rules, decode) = (&self.rules, &self.decode);
        assemble::assemble_with(
            files,
            Options { rules, decode, volumes: VolumesWanted::Chosen, digests: true, on_file: None },
        )
    }

    /// T1 and FLAIR from NIfTI files, as a study without DICOM objects.
    pub fn assemble_nifti(&self, t1: Option<&Path>, flair: Option<&Path>) -> Result<AssembledStudy, PipelineError> {
        Ok(assemble::from_nifti(t1, flair, self.rules.minimum_slices)?)
    }

    /// Analyzes an assembled study and renders its result objects into `directory`, which must exist.
    ///
    /// A failure of the analysis itself does not leave the radiologist without an answer: the study is
    /// reported as unassessable with the reason, and the error is returned beside it for the operator.
    ///
    /// `revision_of` says which of the study's results this is, from its content digest.
    pub fn analyze_and_report(
        &self,
        study: AssembledStudy,
        revision_of: impl FnOnce(&str) -> Revision,
        directory: &Path,
    ) -> Result<(Finished, Option<AnalyzeError>), PipelineError> {
        let (analysis, failure) = match self.engine.analyze(&study) {
            Ok(analysis) => (analysis, None),
            Err(error) => (analysis_failed("analysis_failed", &error.to_string()), Some(error)),
        };
        Ok((self.report(study, analysis, revision_of, directory)?, failure))
    }

    /// Renders the report that says why nothing could be said, after a panic or an error in a stage.
    pub fn report_failure(
        &self,
        study: AssembledStudy,
        why: &str,
        revision_of: impl FnOnce(&str) -> Revision,
        directory: &Path,
    ) -> Result<Finished, PipelineError> {
        self.report(study, analysis_failed("analysis_failed", why), revision_of, directory)
    }

    fn report(
        &self,
        study: AssembledStudy,
        mut analysis: Analysis,
        revision_of: impl FnOnce(&str) -> Revision,
        directory: &Path,
    ) -> Result<Finished, PipelineError> {
        let begun = Instant::now();
        let content_digest = report::content_digest(&study, &analysis, &self.templates, &self.report);
        let mut timings_ms = report::Timings::new();
        let revision = revision_of(&content_digest);
        if let Some(label) = revision.label() {
            let text = format!("This is {label}: it replaces the earlier result of this study.");
            analysis.remarks.push(Reason::new("revision", text));
        }
        let (templates, config) = (&self.templates, &self.report);
        let objects =
            report::render_timed(&study, &analysis, templates, config, &revision, directory, &mut timings_ms)?;
        analysis.timings_ms.append(&mut timings_ms);
        analysis.timings_ms.insert("report".to_owned(), begun.elapsed().as_secs_f64() * 1000.0);
        Ok(Finished { study, analysis, content_digest, revision, objects })
    }
}

fn analysis_failed(code: &str, why: &str) -> Analysis {
    Analysis {
        outcomes: Vec::new(),
        fused: None,
        verdict: Verdict::Unassessable { reasons: vec![Reason::new(code, format!("The analysis failed: {why}"))] },
        remarks: Vec::new(),
        timings_ms: Default::default(),
    }
}
