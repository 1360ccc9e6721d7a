//! The DICOM conformance statement (PS3.2, in the order of the template in its annex A), as `fcdd conformance` prints it.
//!
//! 1. There is no second list. A table is printed from the table that the code itself uses (accepted contexts, rejects,
//!    aborts, statuses, offers), or is found by looking at what the real writers wrote of example studies.
//! 2. The same version, configuration and templates give the same text.
//! 3. `tests/receive/conformance_is_what_is_negotiated.rs` reads the text and negotiates every line of it.
//!
//! Like [`crate::pipeline`] this stands above the stages: it reads the tables of [`crate::receive`] and
//! [`crate::deliver`] and lets [`crate::report`] write.
//!
//! ```text
//! overview, model            what fcdd is, on the network             sections 1 to 3, 4.1
//! receiving, delivering      the two application entities             section 4.2
//! configuration              addresses, titles, timers, limits        sections 4.3, 4.4
//! remaining                  media, character sets, security          sections 5 to 7
//! iod                        objects, codes, templates                section 8
//! example, written, attributes, modules, content_tree, terminology   what the objects hold, found out for section 8
//! received                   what is read of objects that come in
//! markdown                   headings and tables
//! ```

mod attributes;
mod configuration;
mod content_tree;
mod delivering;
mod example;
mod iod;
mod markdown;
mod model;
mod modules;
mod overview;
mod received;
mod receiving;
mod remaining;
mod terminology;
mod written;

use std::io;
use std::path::PathBuf;

use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;

use crate::config::{Config, DEFAULT_SOP_CLASSES};
use crate::dicom::dimse::VERIFICATION;
use crate::dicom::upper_layer::UpperLayerError;
use crate::dicom::{InvalidUid, Templates};
use crate::receive::TRANSFER_SYNTAXES;
use crate::report::ReportError;
use markdown::Document;
use written::{Written, write_examples};

/// Whose statement it is.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The configuration; every value's default where [`Site::is_configured`] is false.
    pub config: &'a Config,
    /// Texts, codes and series numbers of the results.
    pub templates: &'a Templates,
    /// Whether the configuration is a site's.
    pub is_configured: bool,
}

/// Why there is no statement.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// No place for the example objects.
    #[error("cannot make the temporary folder {path}: {source}; set TMPDIR to a folder that can be written")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The example objects cannot be written.
    #[error("the example objects cannot be written: {0}")]
    Report(#[from] ReportError),
    /// An example object cannot be read back.
    #[error("the example object {path} cannot be read back: {reason}; this is a bug in fcdd, please report it")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An example has an impossible UID.
    #[error("{0}; this is a bug in fcdd, please report it")]
    Uid(#[from] InvalidUid),
    /// A PDU of ours cannot be encoded.
    #[error("{0}; this is a bug in fcdd, please report it")]
    Pdu(#[from] UpperLayerError),
}

/// What the sections are written from.
struct Subject<'a> {
    site: Site<'a>,
    /// Every example's results.
    written: Vec<Written>,
}

/// The statement as Markdown.
pub fn statement(site: Site<'_>) -> Result<String, ConformanceError> {
    let written = write_examples(site.templates, &site.config.report)?;
    let subject = Subject { site, written };
    let mut document = Document::default();
    overview::add(&mut document, &subject);
    model::add(&mut document);
    document.heading("4.2", "AE specifications");
    receiving::add(&mut document, &subject)?;
    delivering::add(&mut document, &subject);
    configuration::add(&mut document, &subject);
    remaining::add(&mut document);
    iod::add(&mut document, &subject);
    Ok(document.finish())
}

/// The name of a SOP class, as far as we know it.
fn class_name(uid: &str) -> &'static str {
    match DEFAULT_SOP_CLASSES.iter().find(|(known, _)| *known == uid) {
        Some((_, name)) => name,
        None if uid == VERIFICATION => "Verification",
        None => "(named by the configuration)",
    }
}

/// The name of a transfer syntax, as far as we know it.
fn syntax_name(uid: &str) -> &'static str {
    TRANSFER_SYNTAXES.iter().find(|(known, _)| *known == uid).map_or("", |(_, name)| name)
}

/// An attribute's keyword (PS3.6).
fn keyword(tag: Tag) -> String {
    match StandardDataDictionary.by_tag(tag) {
        Some(entry) => entry.alias().to_owned(),
        // Retired, and so not in the dictionary: Patient module.
        None if tag == Tag(0x0010, 0x2160) => "EthnicGroup".to_owned(),
        None => String::new(),
    }
}
