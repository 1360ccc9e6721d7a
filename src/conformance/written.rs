//! The example studies' results, written by the real writers into a folder of their own and read back.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;

use super::ConformanceError;
use super::example::{Example, Role, examples};
use crate::config;
use crate::deliver::dicom_file::DicomFile;
use crate::dicom::attributes::{items, text};
use crate::dicom::{Dataset, Templates};
use crate::report;
use crate::study::ObjectKind;

/// One object that was written.
pub(super) struct Written {
    pub(super) kind: ObjectKind,
    pub(super) role: Role,
    /// As it goes over the network, pixels included.
    pub(super) dataset: Dataset,
    /// The image that patient, study and geometry come from.
    pub(super) source: Dataset,
    /// Its head, as delivery reads it.
    pub(super) file: DicomFile,
}

/// Writes and reads every example's results.
pub(super) fn write_examples(templates: &Templates, report: &config::Report) -> Result<Vec<Written>, ConformanceError> {
    let folder = Folder::new()?;
    let mut written = Vec::new();
    for (number, example) in examples(templates)?.into_iter().enumerate() {
        // The same UID in two roles is another object.
        let directory = folder.path.join(number.to_string());
        make(&directory)?;
        let objects = report::render(
            &example.study,
            &example.analysis,
            &example.templates,
            report,
            &example.revision,
            &directory,
        )?;
        for object in objects {
            let failed = |reason: String| ConformanceError::Read { path: object.path.clone(), reason };
            let file = DicomFile::open(&object.path).map_err(|error| failed(error.to_string()))?;
            let read = dicom_object::open_file(&object.path).map_err(|error| failed(error.to_string()))?;
            let dataset = read.into_inner();
            let source = source_of(&example, &dataset);
            written.push(Written { kind: object.kind, role: example.role, dataset, source, file });
        }
    }
    Ok(written)
}

/// The slice that an object was drawn over; the image that the study's header comes from, where there is none.
fn source_of(example: &Example, dataset: &Dataset) -> Dataset {
    let of_slice = items(dataset, tags::SOURCE_IMAGE_SEQUENCE).first();
    let uid = of_slice.map(|item| text(item, tags::REFERENCED_SOP_INSTANCE_UID));
    let uid = uid.unwrap_or_else(|| text(&example.study.header, tags::SOP_INSTANCE_UID));
    example.sources.get(&uid).cloned().unwrap_or_else(Dataset::new_empty)
}

/// A temporary folder that goes when it is dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Result<Folder, ConformanceError> {
        let name = format!("fcdd-conformance-{}", uuid::Uuid::new_v4());
        let folder = Folder { path: std::env::temp_dir().join(name) };
        make(&folder.path)?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it harms nobody and holds no patient's data.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn make(path: &Path) -> Result<(), ConformanceError> {
    let made: io::Result<()> = DirBuilder::new().mode(0o700).create(path);
    made.map_err(|source| ConformanceError::Folder { path: path.to_owned(), source })
}
