//! Synthetic subjects: heads with and without focal cortical dysplasia, for tests, for the demonstration and
//! for a network to learn from. They are no patients, and no figure from them says anything about patients.
//!
//! [`Subject::new`] grows the anatomy of a seed; [`Subject::acquire`] scans it by a [`Protocol`];
//! [`dicom::write_study`] and [`cohort`] write DICOM studies and BIDS cohorts. The same seed and options
//! give the same bytes, at any number of threads. A lesion of strength 0 is, byte for byte, the control of
//! the same seed.
//!
//! | file | holds |
//! |---|---|
//! | `noise`, `shapes`, `tissue` | chance, distances, matter |
//! | `brain`, `folding`, `head`, `lesion`, `findings` | the parts of the anatomy |
//! | `anatomy` | all parts together on a 1 mm grid |
//! | `signal`, `acquisition`, `pose`, `scan` | from anatomy to a volume |
//! | `dicom`, `bids`, `cohort` | from volumes to files |

pub mod bids;
pub mod cohort;
pub mod dicom;

mod acquisition;
mod anatomy;
mod brain;
mod findings;
mod folding;
mod head;
mod lesion;
mod noise;
mod pose;
mod scan;
mod shapes;
mod signal;
mod tissue;

pub use acquisition::{Plane, Protocol, Scanner, Size};
pub use scan::Imperfections;
pub use signal::{Pulses, Timing};

use anatomy::{Anatomy, Ball, Lattice};
use pose::Pose;

use crate::volume::{Grid, Volume};

/// A ball much brighter than any tissue, in every sequence: the proof of place looks for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marker {
    /// Centre in the patient's frame, LPS mm. Whatever the seed, `[±35, 0, 20]` lies within the left (+) or
    /// right (−) hemisphere.
    pub centre_lps_mm: [f64; 3],
    /// Radius, mm.
    pub radius_mm: f64,
}

/// What kind of subject to make.
#[derive(Debug, Clone, PartialEq)]
pub struct SubjectOptions {
    /// Everything that varies between subjects follows from it.
    pub seed: u64,
    /// True for a patient, false for a control.
    pub lesion: bool,
    /// Strength of the lesion's signal, 0 (none at all) to 1.
    pub strength: f32,
    /// A bright ball, if wanted.
    pub marker: Option<Marker>,
    /// Tapes an oil capsule to the left temple, as radiographers do to tell left from right.
    pub left_capsule: bool,
    /// Distance of the points at which the anatomy is computed, mm: 1 is enough for every scan, 1.5 for scans at
    /// 1.5 mm and takes a third of the time. Fine detail, and which sulcus carries the lesion, depend on it.
    pub anatomy_step_mm: f32,
}

impl Default for SubjectOptions {
    fn default() -> Self {
        SubjectOptions { seed: 1, lesion: true, strength: 1.0, marker: None, left_capsule: false, anatomy_step_mm: 1.0 }
    }
}

/// Why a subject or its files could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    /// The lesion's strength is not between 0 and 1.
    #[error("a lesion's strength must be between 0 and 1, not {0}")]
    Strength(f32),
    /// The anatomy's grid is absurd.
    #[error("an anatomy's points must be between 0.8 and 3 mm apart, not {0} mm")]
    AnatomyStep(f32),
    /// The marker's place or radius is not a number or absurd.
    #[error("the marker at {0:?} with radius {1} mm is not a ball within 200 mm of the centre")]
    Marker([f64; 3], f64),
}

/// One synthetic subject, ready to be scanned.
pub struct Subject {
    options: SubjectOptions,
    anatomy: Anatomy,
    pose: Pose,
}

/// Where a patient's lesion is, and what it is like.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LesionTruth {
    /// Its seed, LPS mm.
    pub centre_lps_mm: [f64; 3],
    /// Radius, mm.
    pub radius_mm: f64,
    /// Factor on the cortical thickness at strength 1.
    pub thickening: f64,
    /// Blur of the junction (standard deviation, mm) at strength 1.
    pub blur_mm: f64,
    /// True with a cone to the ventricle.
    pub transmantle: bool,
    /// `L` or `R`.
    pub hemisphere: &'static str,
    /// `FL`, `TL`, `PL` or `OL`: frontal, temporal, parietal, occipital, by coordinates.
    pub lobe: &'static str,
}

/// One scanned series.
pub struct Acquisition {
    /// The protocol it was scanned by.
    pub protocol: Protocol,
    /// Whole numbers from 0 to 4095; axes `[slice, row, column]` to LPS mm.
    pub volume: Volume,
    /// Noise, shading and motion of this scan.
    pub imperfections: Imperfections,
}

impl Subject {
    /// Grows a subject.
    ///
    /// # Errors
    /// Options that make no subject: see [`PhantomError`].
    pub fn new(options: &SubjectOptions) -> Result<Subject, PhantomError> {
        if !(0.0..=1.0).contains(&options.strength) {
            return Err(PhantomError::Strength(options.strength));
        }
        if !(0.8..=3.0).contains(&options.anatomy_step_mm) {
            return Err(PhantomError::AnatomyStep(options.anatomy_step_mm));
        }
        let pose = Pose::new(options.seed);
        let marker = match options.marker {
            Some(Marker { centre_lps_mm, radius_mm }) => {
                let sound = centre_lps_mm.iter().all(|c| c.abs() <= 200.0) && (0.0..=200.0).contains(&radius_mm);
                if !sound {
                    return Err(PhantomError::Marker(centre_lps_mm, radius_mm));
                }
                let centre = pose.to_head(centre_lps_mm).map(|v| v as f32);
                Some(Ball { centre, radius_mm: radius_mm as f32 })
            }
            None => None,
        };
        let amplitude = if options.lesion { options.strength } else { 0.0 };
        let lattice = Lattice::new(options.anatomy_step_mm);
        let anatomy = Anatomy::grow(options.seed, lattice, amplitude, options.left_capsule, marker);
        Ok(Subject { options: options.clone(), anatomy, pose })
    }

    /// The options it was made with.
    pub fn options(&self) -> &SubjectOptions {
        &self.options
    }

    /// Scans the subject: an image of magnitude, as a scanner would store it.
    pub fn acquire(&self, protocol: &Protocol) -> Acquisition {
        let (volume, imperfections) = scan::scan(self.options.seed, &self.anatomy, &self.pose, protocol);
        Acquisition { protocol: protocol.clone(), volume, imperfections }
    }

    /// A patient's lesion, also at strength 0; `None` for a control.
    pub fn lesion(&self) -> Option<LesionTruth> {
        let lesion = &self.anatomy.lesion;
        self.options.lesion.then(|| LesionTruth {
            centre_lps_mm: self.pose.to_lps(lesion.centre),
            radius_mm: lesion.radius_mm.into(),
            thickening: lesion.thickening.into(),
            blur_mm: lesion.blur_mm.into(),
            transmantle: lesion.transmantle_to.is_some(),
            hemisphere: if lesion.centre[0] > 0.0 { "L" } else { "R" },
            lobe: lobe(lesion.centre),
        })
    }

    /// Ground truth on a grid, 1 in the lesion and 0 elsewhere; `None` for a control.
    pub fn lesion_mask(&self, grid: &Grid) -> Option<Volume> {
        self.options.lesion.then(|| scan::truth(&self.anatomy, &self.pose, grid))
    }
}

/// The lobe of a place in the head's frame, roughly.
fn lobe([x, y, z]: shapes::Place) -> &'static str {
    if z < -8.0 && x.abs() > 24.0 && y < 40.0 {
        "TL"
    } else if y > 50.0 {
        "OL"
    } else if y > 10.0 {
        "PL"
    } else {
        "FL"
    }
}
