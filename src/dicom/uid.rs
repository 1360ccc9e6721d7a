//! DICOM unique identifiers that were checked before they may become part of a path or a row.

use std::fmt;

/// A valid DICOM UID (PS3.5 section 9.1): 1 to 64 characters, digits and single dots, no component with
/// a leading zero. Nothing else can become a file name in the spool.
///
/// One leniency that real scanners need: a component such as `01` is refused by the standard, yet appears
/// in the field; it cannot harm a path, so it is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Uid(String);

/// A string that is not a UID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a DICOM UID (1 to 64 characters: digits and single dots between them)")]
pub struct InvalidUid {
    /// The offending text, cut after 80 characters.
    pub text: String,
}

impl Uid {
    /// Checks a UID; trailing padding (NUL or space, PS3.5 section 6.2) is taken off first.
    pub fn parse(text: &str) -> Result<Uid, InvalidUid> {
        let trimmed = text.trim_end_matches(['\0', ' ']);
        let shape_is_right = (1..=64).contains(&trimmed.len())
            && trimmed.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        if shape_is_right {
            Ok(Uid(trimmed.to_owned()))
        } else {
            Err(InvalidUid { text: trimmed.chars().take(80).collect() })
        }
    }

    /// The UID's text, without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `2.25.` followed by the decimal value of a UUID (PS3.5 annex B.2).
    pub fn from_uuid(uuid: uuid::Uuid) -> Uid {
        Uid(format!("2.25.{}", uuid.as_u128()))
    }
}

impl TryFrom<String> for Uid {
    type Error = InvalidUid;

    fn try_from(text: String) -> Result<Uid, InvalidUid> {
        Uid::parse(&text)
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> String {
        uid.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Uid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_tricks_are_no_uids() {
        for text in ["", "..", "1..2", ".1", "1.", "1/2", "../../etc/passwd", "1.2\0/x", "1.2 .3", "1.2a"] {
            assert!(Uid::parse(text).is_err(), "{text:?}");
        }
        assert!(Uid::parse(&"1".repeat(65)).is_err());
    }

    #[test]
    fn padding_is_taken_off() {
        assert_eq!(Uid::parse("1.2.840\0").unwrap().as_str(), "1.2.840");
    }
}
