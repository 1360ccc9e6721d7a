//! The site secret: what pseudonyms and date shifts of one archive follow from.
//!
//! Everything is HMAC-SHA256 (RFC 2104) under the secret with a purpose in front of the message, so that no
//! value for one purpose says anything about another. Whoever has the secret and a list of Patient IDs can
//! find out who is who; whoever has only the archive cannot. It therefore lies outside the archive, readable by
//! its owner alone, and is made once, on purpose: an archive whose secret is lost cannot recognise its patients.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::config::private_file::open_to_others;

/// Bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Characters of a pseudonym after `sub-`: 50 bits.
const PSEUDONYM_CHARACTERS: usize = 10;
/// RFC 4648 without the letters and digits that people mistake for each other (`0 O 1 I`).
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Every date moves back by this many days and up to [`SPREAD_DAYS`] more: the results lie before 1925, which is how
/// BIDS says that a date was shifted.
const SMALLEST_SHIFT_DAYS: i64 = 40_000;
const SPREAD_DAYS: u64 = 3_650;

/// The secret cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A file operation failed.
    #[error("cannot {doing} the site secret {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A secret is never overwritten.
    #[error("{path} exists already; a site secret is never replaced, since pseudonyms follow from it")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others can read it.
    #[error(
        "the site secret {path} is open to others (mode {mode:o}); chmod 600 it, and make a new one if others may have read it"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a file that `fcdd admin archive secret` wrote.
    #[error(
        "{path} is no site secret (64 hexadecimal digits are expected); make one with: fcdd admin archive secret FILE"
    )]
    NotASecret {
        /// The file.
        path: PathBuf,
    },
    /// It lies in the archive.
    #[error(
        "the site secret {path} lies within the archive {archive}; who gets the archive must not get it: move it elsewhere"
    )]
    WithinArchive {
        /// The secret's file.
        path: PathBuf,
        /// The archive.
        archive: PathBuf,
    },
}

/// A site's secret. It has no `Debug` output of its own content and is never printed.
pub struct SiteSecret {
    key: [u8; SECRET_BYTES],
}

impl std::fmt::Debug for SiteSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SiteSecret(..)")
    }
}

/// Who a patient is, within an institution: Patient ID (0010,0020) and Issuer of Patient ID (0010,0021).
#[derive(Clone, PartialEq, Eq)]
pub struct PatientIdentity {
    /// Patient ID.
    pub id: String,
    /// Issuer of Patient ID; may be empty.
    pub issuer: String,
}

impl std::fmt::Debug for PatientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PatientIdentity(..)")
    }
}

impl PatientIdentity {
    fn message(&self) -> Vec<u8> {
        // A length in front keeps ("ab", "c") and ("a", "bc") apart.
        [(self.id.len() as u64).to_be_bytes().as_slice(), self.id.as_bytes(), self.issuer.as_bytes()].concat()
    }
}

impl SiteSecret {
    /// Makes a new secret in a new file with mode 0600.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: &Path) -> Result<SiteSecret, SecretError> {
        let io = |doing, source| SecretError::Io { doing, path: path.to_owned(), source };
        let key: [u8; SECRET_BYTES] = rand::random();
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SecretError::Exists { path: path.to_owned() });
            }
            Err(e) => return Err(io("create", e)),
        };
        let written = file.write_all(format!("{}\n", hex(&key)).as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|e| io("write", e))?;
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|d| d.sync_all()).map_err(|e| io("sync the folder of", e))?;
        Ok(SiteSecret { key })
    }

    /// Reads a secret for use with an archive.
    ///
    /// # Errors
    /// When it cannot be read, is no secret, is open to others, or lies within the archive.
    pub fn load(path: &Path, archive: &Path) -> Result<SiteSecret, SecretError> {
        let io = |doing, source| SecretError::Io { doing, path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => SecretError::NotASecret { path: path.to_owned() },
            _ => io("read", e),
        })?;
        let metadata = std::fs::metadata(path).map_err(|e| io("ask for the mode of", e))?;
        if let Some(mode) = open_to_others(&metadata) {
            return Err(SecretError::Open { path: path.to_owned(), mode });
        }
        let real = path.canonicalize().map_err(|e| io("resolve", e))?;
        if archive.canonicalize().is_ok_and(|archive| real.starts_with(archive)) {
            return Err(SecretError::WithinArchive { path: path.to_owned(), archive: archive.to_owned() });
        }
        let key = unhex(text.trim()).ok_or_else(|| SecretError::NotASecret { path: path.to_owned() })?;
        Ok(SiteSecret { key })
    }

    /// A secret from its bytes.
    pub fn from_key(key: [u8; SECRET_BYTES]) -> SiteSecret {
        SiteSecret { key }
    }

    /// `sub-` and ten characters: the same patient, the same pseudonym.
    pub fn pseudonym(&self, patient: &PatientIdentity) -> String {
        let digest = self.digest("pseudonym", &patient.message());
        // Bits are taken from the most significant end, five at a time.
        let mut bits = digest.iter().take(8).fold(0u64, |all, byte| all << 8 | u64::from(*byte));
        let mut name = String::from("sub-");
        for _ in 0..PSEUDONYM_CHARACTERS {
            let index = (bits >> 59) as usize;
            name.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'A')));
            bits <<= 5;
        }
        name
    }

    /// A longer value for the same patient, by which two patients with one pseudonym are told apart.
    pub fn patient_check(&self, patient: &PatientIdentity) -> String {
        self.short("patient check", &patient.message())
    }

    /// The name of a study in the archive's own tables; the Study Instance UID cannot be had back from it.
    pub fn study_key(&self, study_uid: &str) -> String {
        self.short("study", study_uid.as_bytes())
    }

    /// The name of a lesion mask's content.
    pub fn content_key(&self, bytes: &[u8]) -> String {
        self.short("roi", bytes)
    }

    /// A value by which an archive recognises its secret.
    pub fn check(&self) -> String {
        self.short("archive check", b"")
    }

    /// Days by which all dates of a patient move back: the intervals between them stay.
    pub fn shift_days(&self, patient: &PatientIdentity) -> i64 {
        let digest = self.digest("date shift", &patient.message());
        let number = digest.iter().take(8).fold(0u64, |all, byte| all << 8 | u64::from(*byte));
        SMALLEST_SHIFT_DAYS + (number % SPREAD_DAYS) as i64
    }

    fn short(&self, purpose: &str, message: &[u8]) -> String {
        hex(self.digest(purpose, message).get(..16).unwrap_or_default())
    }

    fn digest(&self, purpose: &str, message: &[u8]) -> Vec<u8> {
        // HMAC takes keys of any length: this cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return Vec::new() };
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; SECRET_BYTES]> {
    if text.len() != 2 * SECRET_BYTES || !text.is_ascii() {
        return None;
    }
    let mut key = [0; SECRET_BYTES];
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn patient(id: &str, issuer: &str) -> PatientIdentity {
        PatientIdentity { id: id.into(), issuer: issuer.into() }
    }

    /// Golden values by Python's hmac and hashlib.
    #[test]
    fn values_are_those_of_another_implementation() {
        let secret = SiteSecret::from_key(std::array::from_fn(|i| i as u8));
        let patient = patient("MRN-4711", "KLINIK");
        assert_eq!(secret.pseudonym(&patient), "sub-3FHGVZ7ZL5");
        assert_eq!(secret.shift_days(&patient), 42_865);
        assert_eq!(secret.study_key("1.2.3"), "1aae6e50e63819a4006efa4a2187e382");
    }

    #[test]
    fn patients_and_issuers_are_told_apart() {
        let secret = SiteSecret::from_key([7; 32]);
        let names: std::collections::BTreeSet<String> =
            [patient("ab", "c"), patient("a", "bc"), patient("abc", ""), patient("", "abc")]
                .iter()
                .map(|p| secret.pseudonym(p))
                .collect();
        assert_eq!(names.len(), 4);
        assert_ne!(secret.pseudonym(&patient("a", "")), SiteSecret::from_key([8; 32]).pseudonym(&patient("a", "")));
    }

    #[test]
    fn a_secret_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let made = SiteSecret::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(SiteSecret::create(&path), Err(SecretError::Exists { .. })));
        let archive = folder.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        assert_eq!(SiteSecret::load(&path, &archive).unwrap().check(), made.check());
        assert!(matches!(SiteSecret::load(&path, folder.path()), Err(SecretError::WithinArchive { .. })));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(SiteSecret::load(&path, &archive), Err(SecretError::Open { mode: 0o640, .. })));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(SiteSecret::load(&path, &archive), Err(SecretError::NotASecret { .. })));
    }
}
