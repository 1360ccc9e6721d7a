//! What a plan remembers of an archive: a digest that changes when a used file or a used row changes, and not when
//! the folder moves, rows are reordered or subjects that cannot be used come and go.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Archive, ArchiveError, SEQUENCES};
use crate::research::few_at_once;

/// SHA-256 (hexadecimal) over the sorted lines of all used subjects: a line per participant with id, group, sex and
/// age, and a line per used file with subject, role, scanner, protocol and the SHA-256 of its content.
///
/// # Errors
/// When a used file cannot be read.
pub fn of(archive: &Archive) -> Result<String, ArchiveError> {
    let mut files: Vec<(String, &Path)> = Vec::new();
    let mut lines = Vec::new();
    for subject in &archive.subjects {
        let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "n/a".to_owned());
        let age = subject.age.map_or_else(|| "n/a".to_owned(), |age| age.to_string());
        lines.push(format!("participant\t{}\t{}\t{}\t{age}", subject.id, subject.group.name(), said(&subject.sex)));
        for scan in SEQUENCES.iter().filter_map(|sequence| subject.scan(*sequence)) {
            let role = format!("{}\t{}\t{}", scan.sequence.label(), said(&scan.scanner), said(&scan.acquisition));
            files.push((format!("file\t{}\t{role}", subject.id), &scan.path));
        }
        if let Some(roi) = &subject.roi {
            files.push((format!("file\t{}\troi", subject.id), roi));
        }
    }
    let digests = few_at_once::map(&files, |(line, path)| {
        let digest = sha256(path).map_err(|source| ArchiveError::File { path: PathBuf::from(path), source })?;
        Ok(format!("{line}\t{digest}"))
    });
    for line in digests {
        lines.push(line?);
    }
    lines.sort();
    Ok(hexadecimal(&Sha256::digest(lines.join("\n"))))
}

/// SHA-256 of a file's content, hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hexadecimal(&hasher.finalize()))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
