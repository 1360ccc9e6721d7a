//! The report of any model on any archive: the same pages as a run's, with the model's own calibration and threshold.
//!
//! The networks answer together as in serving: mean logit, mean of the signed maps. **Whom the model has seen is not
//! scored so**, but by the one network that tested it in the cross-validation ([`crate::research::models::seen_subjects`]); it must say what
//! was recorded then.
//!
//! What has to be fitted on the archive itself (metadata baseline, intensity baseline, conformal quantiles) is
//! cross-fitted over parts into which the subjects are dealt, and compares subjects of the same part and the same
//! network only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Contents, ModelSaid, OperatingPoint, ReportError, of_cohort};
use crate::analyze::session::GraphShapes;
use crate::network::manifest::CalibrationKind;
use crate::network::{ModelFolder, ModelFolderError};
use crate::research::archive::origin::Data;
use crate::research::cache::{Cache, CachedSubject};
use crate::research::confounds;
use crate::research::evaluate::{
    Abstention, Heard, IntensityComparison, MapError, MapRule, Mirroring, Networks, Scored, Scoring, SubjectRow,
    measure, score, subject_row,
};
use crate::research::models::export::{BF16_TOLERANCE, Subject};
use crate::research::models::seen_subjects::{Scorer, SeenError, scorers};
use crate::research::run::folder::{RunFolderError, write_table};
use crate::research::run::splits::{Candidate, Splits};
use crate::research::statistics::sigmoid;

/// Seed of the bootstrap and of the parts: the same model and archive give the same report.
const SEED: u64 = 1;
/// Parts into which subjects are dealt, where there are enough of both classes.
const PARTS: usize = 5;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ModelReportError {
    /// A file of the model.
    #[error(transparent)]
    Model(#[from] ModelFolderError),
    /// The model has seen somebody and may not score him.
    #[error(transparent)]
    Seen(#[from] SeenError),
    /// A network cannot be run on a subject.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A page cannot be drawn or written.
    #[error(transparent)]
    Page(#[from] ReportError),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] RunFolderError),
    /// The network that tested a subject now says something else.
    #[error(
        "{subject}: the network of fold {fold} says logit {found:.4}, recorded is {recorded:.4}; the model's records or its \
         preprocessing are not those of its run"
    )]
    Disagreement {
        /// Who.
        subject: String,
        /// The fold.
        fold: usize,
        /// Now.
        found: f64,
        /// In the model's record.
        recorded: f64,
    },
    /// The output is something else's folder.
    #[error("{path} holds a run or a model; give another --output")]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
}

/// What the caller decides.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What the archive is called in the title.
    pub archive: &'a str,
    /// Whose scans it holds; none: what its `dataset_description.json` says.
    pub data: Option<Data>,
    /// The ONNX Runtime library, where it is not found by itself.
    pub onnxruntime: Option<&'a Path>,
}

/// Refuses folders in which a report would replace another one's figures.
///
/// # Errors
/// When a run or a model is in it.
pub fn check_output(output: &Path) -> Result<(), ModelReportError> {
    let holds = |name: &str| output.join(name).exists();
    if holds("plan.toml") || holds(crate::network::model_folder::MANIFEST) {
        return Err(ModelReportError::Occupied { path: output.to_owned() });
    }
    Ok(())
}

/// Makes the report of `model` on the subjects of `cache`, which was built with the model's own input, and writes
/// `report.html`, `report.md`, `metrics.json` and `subjects.csv` into `output`. `progress` hears of every subject twice.
///
/// # Errors
/// Somebody whom nobody may score, a network that does not run, a file that cannot be written.
pub fn write(
    model: &ModelFolder,
    cache: &Cache,
    output: &Path,
    request: &Request<'_>,
    progress: &(dyn Fn() + Sync),
) -> Result<Contents, ModelReportError> {
    check_output(output)?;
    let contents = contents(model, cache, request, progress)?;
    let subjects: Vec<SubjectRow> = cache.subjects().iter().map(subject_row).collect();
    write_table(&output.join("subjects.csv"), &subjects)?;
    super::write(output, &contents)?;
    Ok(contents)
}

fn contents(
    model: &ModelFolder,
    cache: &Cache,
    request: &Request<'_>,
    progress: &(dyn Fn() + Sync),
) -> Result<Contents, ModelReportError> {
    let manifest = model.manifest();
    let rule = MapRule::serving(manifest.map.stride);
    let identity = |s: &CachedSubject| Subject { id: s.id.clone(), content: s.source_sha256.clone() };
    let subjects: Vec<Subject> = cache.subjects().iter().map(identity).collect();
    let scorers = scorers(model, &subjects)?;

    let (heard, took) = hear(model, cache, &scorers, request.onnxruntime, progress)?;
    let scored = score(&heard, cache, &rule, progress)?;
    let tiles = of_cohort::tiles::<ModelReportError>(&heard, &scored, cache, &rule)?;
    let numbers: Vec<usize> = scored.iter().map(Scored::network).collect();
    let mirroring = Mirroring::of(&heard, &numbers, SEED);
    drop(heard);

    let threshold = manifest.decision.threshold;
    let calibration = manifest.calibration.clone();
    let scoring = Scoring::Given { calibration: calibration.clone(), threshold };
    let metrics = measure(&scored, &[], &scoring, SEED);
    let labels: Vec<bool> = scored.iter().map(|s| s.row.fcd).collect();
    let logits: Vec<f64> = scored.iter().map(|s| s.logit).collect();
    let parts = parts(&scored);
    // The same subjects, with the part instead of the network: what must not be compared is not in one part.
    let dealt: Vec<Scored> =
        scored.iter().zip(&parts).map(|(s, part)| Scored { fold: Some(*part), heat: None, ..s.clone() }).collect();

    let mut cautions = Vec::new();
    let synthetic = of_cohort::any_synthetic(request.data, cache, &mut cautions);
    if !manifest.trained {
        cautions.push("The model is untrained: random weights, its numbers and pictures mean nothing.".to_owned());
    } else if manifest.is_synthetic() {
        cautions.push("The model was trained on synthetic data only.".to_owned());
    }
    let seen = scorers.iter().filter(|scorer| matches!(scorer, Scorer::Fold { .. })).count();
    if seen > 0 {
        cautions.push(format!(
            "Calibration and threshold were fitted on out-of-fold logits, also those of the {seen} subjects on whom the \
             model was trained: what depends on them (all but the AUC) is too good for those."
        ));
    }
    cautions.push(
        "What has to be fitted on this archive (metadata, intensities, conformal quantiles) was fitted on parts into which \
         its subjects were dealt; there only subjects of one part and one network are compared, so that the model's AUC \
         differs a little from the one of all."
            .to_owned(),
    );
    cautions.extend(of_cohort::cautions(&metrics, &scored, cache, manifest.map.stride));

    Ok(Contents {
        format: super::FORMAT,
        title: format!(
            "Model {} {} on {} ({})",
            manifest.name,
            manifest.version,
            request.archive,
            manifest.sequence.label()
        ),
        synthetic,
        scored_by: scored_by(model.folds(), scored.len() - seen, seen),
        cautions,
        confounds: Some(confounds::report(&dealt, SEED)),
        maps: rule.sentence(),
        intensity: Some(IntensityComparison::of(&scored, cache, &parts, SEED)),
        fusion: None,
        mirroring,
        abstention: Abstention::of(&labels, &logits, &parts),
        withheld: Some(of_cohort::withheld(&scored, cache, Some(manifest))),
        operating_point: Some(OperatingPoint {
            threshold,
            rule: manifest.decision.rule.clone().unwrap_or_else(|| "the model's own".to_owned()),
            calibration: [calibration.scale, calibration.offset],
            fitted_on: match (calibration.kind, calibration.fitted_on) {
                (CalibrationKind::None, None) => "not calibrated".to_owned(),
                (_, fitted_on) => fitted_on.unwrap_or_else(|| "the model's own".to_owned()),
            },
        }),
        forward_pass: of_cohort::forward_pass(took, model.folds()),
        plan: None,
        model: Some(ModelSaid {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            digest: model.digest().to_owned(),
            data_source: manifest.data_source.clone(),
            synthetic: manifest.is_synthetic(),
            networks: model.folds(),
        }),
        hardware: vec![format!("scores, maps and times on {}", of_cohort::this_machine())],
        training_s: None,
        histories: Vec::new(),
        tiles,
        metrics,
    })
}

/// Who scored how many, in words.
fn scored_by(networks: usize, together: usize, seen: usize) -> String {
    let mut text = String::new();
    if together > 0 {
        text += &match networks {
            1 => format!("{together} were scored by the model's one network."),
            _ => format!("{together} were scored by all {networks} networks together (mean logit, mean map)."),
        };
    }
    if seen > 0 {
        let them = if together > 0 { " The model was trained on" } else { "The model was trained on all" };
        text += &format!(
            "{them} {seen}: each of them was scored by the one network that tested it in the cross-validation."
        );
    }
    text + " Calibration and threshold are the model's own."
}

/// Runs all networks on whom none has seen, and each on whom only it has not.
fn hear(
    model: &ModelFolder,
    cache: &Cache,
    scorers: &[Scorer],
    library: Option<&Path>,
    progress: &(dyn Fn() + Sync),
) -> Result<(Vec<Heard>, Vec<Duration>), ModelReportError> {
    let manifest = model.manifest();
    let shapes = GraphShapes { input: manifest.input.shape, map: manifest.map.shape };
    let open = |files: &[usize]| -> Result<Networks, ModelReportError> {
        let named = |file: &usize| Ok((format!("network {file}"), model.fold_bytes(*file)?));
        let files: Vec<(String, Vec<u8>)> = files.iter().map(named).collect::<Result<_, ModelFolderError>>()?;
        Ok(Networks::open(&manifest.name, &files, shapes, library)?)
    };
    let everybody = || cache.subjects().iter().zip(scorers);
    let mut heard: BTreeMap<&str, Heard> = BTreeMap::new();
    let mut took = Vec::new();

    if scorers.contains(&Scorer::Ensemble) {
        let mut networks = open(&(0..model.folds()).collect::<Vec<_>>())?;
        for (subject, _) in everybody().filter(|(_, scorer)| **scorer == Scorer::Ensemble) {
            let answer = networks.answer(cache, &subject.id)?;
            took.push(answer.took);
            let row = subject_row(subject);
            heard.insert(
                &subject.id,
                Heard {
                    row,
                    fold: None,
                    logit: answer.logit,
                    logit_of_mirrored: answer.logit_of_mirrored,
                    cams: answer.cams,
                },
            );
            progress();
        }
    }
    let files: BTreeSet<usize> = scorers.iter().filter_map(file).collect();
    for wanted in files {
        let mut network = open(&[wanted])?;
        for (subject, scorer) in everybody() {
            let Scorer::Fold { fold, file, recorded } = scorer else { continue };
            if *file != wanted {
                continue;
            }
            let answer = network.answer(cache, &subject.id)?;
            // The record is the trainer's, which may have computed in bf16.
            if (sigmoid(answer.logit) - sigmoid(recorded.logit)).abs() > BF16_TOLERANCE {
                let (found, recorded) = (answer.logit, recorded.logit);
                return Err(ModelReportError::Disagreement {
                    subject: subject.id.clone(),
                    fold: *fold,
                    found,
                    recorded,
                });
            }
            let row = subject_row(subject);
            heard.insert(
                &subject.id,
                Heard {
                    row,
                    fold: Some(*fold),
                    logit: answer.logit,
                    logit_of_mirrored: answer.logit_of_mirrored,
                    cams: answer.cams,
                },
            );
            progress();
        }
    }
    // A model's time is that of all its networks; of single ones it is not known.
    Ok((heard.into_values().collect(), took))
}

fn file(scorer: &Scorer) -> Option<usize> {
    match scorer {
        Scorer::Ensemble => None,
        Scorer::Fold { file, .. } => Some(*file),
    }
}

/// A number for each subject: those with the same one were scored by the same network and dealt into the same part,
/// evenly by group and scanner. One part for all where there are too few of a class.
fn parts(scored: &[Scored]) -> Vec<usize> {
    let patients = scored.iter().filter(|s| s.row.fcd).count();
    let count = PARTS.min(patients).min(scored.len() - patients);
    let candidates: Vec<Candidate> = scored
        .iter()
        .map(|s| Candidate {
            id: s.row.subject.clone(),
            group: if s.row.fcd { crate::study::Group::Fcd } else { crate::study::Group::Hc },
            stratum: format!("{:?} {:?} {:?}", s.fold, s.row.scanner, s.row.protocol),
        })
        .collect();
    let splits = if count < 2 { None } else { Splits::new(&candidates, SEED, count, 0.2).ok() };
    let part = |s: &Scored| splits.as_ref().and_then(|splits| splits.subjects.get(&s.row.subject)).map(|p| p.test_fold);
    let cells: BTreeSet<(usize, Option<usize>)> = scored.iter().map(|s| (s.network(), part(s))).collect();
    let numbers: BTreeMap<(usize, Option<usize>), usize> = cells.into_iter().zip(0..).collect();
    scored.iter().map(|s| numbers.get(&(s.network(), part(s))).copied().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(n: usize, fcd: bool, fold: Option<usize>) -> Scored {
        let row = SubjectRow {
            subject: format!("sub-{n}"),
            fcd,
            scanner: Some(format!("{}", n % 2)),
            protocol: None,
            voxel_mm: None,
            sex: None,
            age: None,
        };
        Scored { row, fold, logit: 0.0, heat: None }
    }

    #[test]
    fn a_part_holds_both_classes_and_scores_of_one_network() {
        let cohort: Vec<Scored> = (0..40).map(|n| scored(n, n < 20, (n % 4 == 0).then_some(1))).collect();
        let parts = parts(&cohort);
        let distinct: BTreeSet<usize> = parts.iter().copied().collect();
        for part in &distinct {
            let members: Vec<&Scored> = cohort.iter().zip(&parts).filter(|(_, p)| *p == part).map(|(s, _)| s).collect();
            assert!(members.iter().all(|s| s.fold == members[0].fold), "{members:?}");
            assert!(members.iter().any(|s| s.row.fcd) && members.iter().any(|s| !s.row.fcd), "{members:?}");
        }
        assert_eq!(distinct.len(), 2 * PARTS);
    }

    #[test]
    fn too_few_of_a_class_are_one_part() {
        let cohort: Vec<Scored> = (0..6).map(|n| scored(n, n == 0, None)).collect();
        assert_eq!(parts(&cohort), [0; 6]);
        let one_class: Vec<Scored> = (0..6).map(|n| scored(n, true, None)).collect();
        assert_eq!(parts(&one_class), [0; 6]);
        assert!(parts(&[]).is_empty());
    }

    #[test]
    fn who_scored_whom_is_said() {
        assert!(scored_by(5, 3, 0).starts_with("3 were scored by all 5 networks together"));
        let both = scored_by(5, 3, 2);
        assert!(both.contains("3 were scored by all 5") && both.contains("The model was trained on 2"), "{both}");
        assert!(scored_by(2, 0, 4).starts_with("The model was trained on all 4:"));
    }

    #[test]
    fn a_run_and_a_model_keep_their_figures() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_output(&folder.path().join("new")).is_ok() && check_output(folder.path()).is_ok());
        std::fs::write(folder.path().join("plan.toml"), "").unwrap();
        assert!(matches!(check_output(folder.path()), Err(ModelReportError::Occupied { .. })));
    }
}
