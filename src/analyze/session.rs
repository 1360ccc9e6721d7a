//! The warmed sessions of one model: one per fold, all on the same provider, kept for the process's life.
//!
//! Opening compiles the graph for the processor (seconds); that is why it happens once, at start-up, together with
//! a run on zeros: a provider that loads and then fails to run is refused like one that does not load.

use std::collections::BTreeSet;

use ndarray::{Array3, ArrayView3, Ix2, Ix5};
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

use super::runtime::Provider;
use crate::network::manifest::Precision;
use crate::network::stem_rewrite::with_blocked_stem;
use crate::network::writer::{CAM, INPUT, LOGITS};

/// What the manifest promises about the graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphShapes {
    /// `[D, H, W]` of the input.
    pub input: [usize; 3],
    /// `[d, h, w]` of the map.
    pub map: [usize; 3],
}

/// Why a provider does not run a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The provider.
    pub provider: Provider,
    /// Why.
    pub because: String,
}

/// What can go wrong with sessions.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No provider that the device setting allows runs this model.
    #[error("no execution provider runs the model {model}: {}", list(refusals))]
    NoProvider {
        /// The model's name.
        model: String,
        /// Every provider tried, and why not.
        refusals: Vec<Refusal>,
    },
    /// The graph is not what the manifest says.
    #[error(
        "{file} of the model {model} has {found} where its manifest promises {expected}; export the model again, or \
         correct the manifest"
    )]
    Graph {
        /// The model's name.
        model: String,
        /// The file.
        file: String,
        /// What the manifest says.
        expected: String,
        /// What the graph has.
        found: String,
    },
    /// A run failed.
    #[error("inference of {file} of the model {model} failed: {reason}")]
    Run {
        /// The model's name.
        model: String,
        /// The file.
        file: String,
        /// ONNX Runtime's words.
        reason: String,
    },
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(|r| format!("{}: {}", r.provider, r.because)).collect::<Vec<_>>().join("; ")
}

/// What one fold's network says.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldOutput {
    /// FCD logit minus the other class's.
    pub logit: f64,
    /// Signed class activation map, `[d, h, w]`, logit units.
    pub cam: Array3<f32>,
}

#[derive(Debug)]
struct Fold {
    file: String,
    session: Session,
}

/// The sessions of one model.
#[derive(Debug)]
pub struct ModelSessions {
    model: String,
    shapes: GraphShapes,
    folds: Vec<Fold>,
    /// Where they run.
    pub provider: Provider,
    /// In which arithmetic.
    pub precision: Precision,
    /// Providers that were tried before, and why they do not run it.
    pub refusals: Vec<Refusal>,
}

impl ModelSessions {
    /// Opens and warms one session per file on the first of the providers that runs all of them.
    /// `files` are names and contents; `threads` is per inference.
    ///
    /// # Errors
    /// [`SessionError::NoProvider`] with every refusal, [`SessionError::Graph`] where a graph's inputs or outputs are
    /// not what `shapes` promises.
    pub fn open(
        environment: &Environment,
        model: &str,
        files: &[(String, Vec<u8>)],
        shapes: GraphShapes,
        validated: &BTreeSet<Precision>,
        providers: &[Provider],
        threads: usize,
    ) -> Result<Self, SessionError> {
        let mut refusals = Vec::new();
        for provider in providers.iter().copied() {
            let opened = provider.precision(validated).map_err(Failure::Provider).and_then(|precision| {
                let mut sessions = ModelSessions {
                    model: model.to_owned(),
                    shapes,
                    folds: Vec::new(),
                    provider,
                    precision,
                    refusals: Vec::new(),
                };
                for (file, onnx) in files {
                    let wants_blocked_stem = provider.wants_blocked_stem(precision);
                    let rewritten = wants_blocked_stem.then(|| with_blocked_stem(onnx)).flatten();
                    let session = provider
                        .open(environment, rewritten.as_deref().unwrap_or(onnx), precision, threads)
                        .map_err(|e| Failure::Provider(e.to_string()))?;
                    check_graph(model, file, &session, shapes).map_err(Failure::Graph)?;
                    sessions.folds.push(Fold { file: file.clone(), session });
                }
                sessions.run(Array3::zeros(shapes.input).view()).map_err(|e| Failure::Provider(e.to_string()))?;
                Ok(sessions)
            });
            match opened {
                Ok(mut sessions) => {
                    sessions.refusals = refusals;
                    return Ok(sessions);
                }
                Err(Failure::Graph(error)) => return Err(error),
                Err(Failure::Provider(because)) => refusals.push(Refusal { provider, because }),
            }
        }
        Err(SessionError::NoProvider { model: model.to_owned(), refusals })
    }

    /// Runs every fold on one tensor `[D, H, W]` in C order, borrowed, not copied.
    ///
    /// # Errors
    /// [`SessionError::Run`], also when a network answers with something that is not a number.
    pub fn run(&mut self, tensor: ArrayView3<'_, f32>) -> Result<Vec<FoldOutput>, SessionError> {
        let [d, h, w] = self.shapes.input;
        let mut outputs = Vec::with_capacity(self.folds.len());
        for fold in &mut self.folds {
            let failed =
                |reason: String| SessionError::Run { model: self.model.clone(), file: fold.file.clone(), reason };
            let values = tensor.as_slice().ok_or_else(|| failed("the tensor is not contiguous".to_owned()))?;
            let input = TensorRef::from_array_view(([1, 1, d, h, w], values)).map_err(|e| failed(e.to_string()))?;
            let answer = fold.session.run(ort::inputs![INPUT => input]).map_err(|e| failed(e.to_string()))?;
            let output = read_output(&answer).map_err(failed)?;
            outputs.push(output);
        }
        Ok(outputs)
    }
}

enum Failure {
    Provider(String),
    Graph(SessionError),
}

fn read_output(answer: &ort::session::SessionOutputs<'_>) -> Result<FoldOutput, String> {
    let get = |name: &str| {
        let value = answer.get(name).ok_or_else(|| format!("there is no output {name}"))?;
        value.try_extract_array::<f32>().map_err(|e| format!("output {name}: {e}"))
    };
    let logits = get(LOGITS)?.into_dimensionality::<Ix2>().map_err(|e| format!("output {LOGITS}: {e}"))?;
    let (Some(other), Some(fcd)) = (logits.get([0, 0]), logits.get([0, 1])) else {
        return Err(format!("output {LOGITS} has shape {:?}", logits.shape()));
    };
    let logit = f64::from(*fcd) - f64::from(*other);
    let cam = get(CAM)?.into_dimensionality::<Ix5>().map_err(|e| format!("output {CAM}: {e}"))?;
    let cam = cam.index_axis(ndarray::Axis(0), 0).index_axis(ndarray::Axis(0), 0).to_owned();
    if !logit.is_finite() || cam.iter().any(|v| !v.is_finite()) {
        return Err(format!("it answered with values that are not finite numbers (logit {logit})"));
    }
    Ok(FoldOutput { logit, cam })
}

fn check_graph(model: &str, file: &str, session: &Session, shapes: GraphShapes) -> Result<(), SessionError> {
    let [d, h, w] = shapes.input.map(|n| n as i64);
    let [md, mh, mw] = shapes.map.map(|n| n as i64);
    let expected = [
        ("input", session.inputs(), INPUT, vec![1, 1, d, h, w]),
        ("output", session.outputs(), LOGITS, vec![1, 2]),
        ("output", session.outputs(), CAM, vec![1, 1, md, mh, mw]),
    ];
    for (role, outlets, name, shape) in expected {
        let shape_of = |o: &ort::value::Outlet| o.dtype().tensor_shape().map(|s| s.to_vec());
        let found = outlets.iter().find(|o| o.name() == name).map(shape_of);
        if found != Some(Some(shape.clone())) {
            let all: Vec<String> =
                outlets.iter().map(|o| format!("{role} {} {:?}", o.name(), shape_of(o).unwrap_or_default())).collect();
            return Err(SessionError::Graph {
                model: model.to_owned(),
                file: file.to_owned(),
                expected: format!("{role} {name} {shape:?}"),
                found: all.join(", "),
            });
        }
    }
    Ok(())
}
