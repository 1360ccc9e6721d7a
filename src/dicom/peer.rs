//! Application entities by name and address: AE titles, and peers written as `AET@HOST:PORT`.

use std::fmt;
use std::str::FromStr;

/// An AE title (PS3.5 section 6.2, VR AE): 1 to 16 printable ASCII characters without backslash; spaces around
/// it mean nothing and are taken off.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct AeTitle(String);

/// What is wrong with an AE title or with `AET@HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPeer {
    /// Nothing but spaces.
    #[error("an AE title cannot be empty")]
    EmptyTitle,
    /// Over 16 characters.
    #[error("the AE title {title:?} has {length} characters, at most 16 are allowed")]
    TitleTooLong {
        /// The title as given.
        title: String,
        /// Its length.
        length: usize,
    },
    /// A character that the default repertoire does not have, or a backslash.
    #[error("the AE title {title:?} contains {character:?}; printable ASCII without backslash is allowed")]
    TitleCharacter {
        /// The title as given.
        title: String,
        /// The offending character.
        character: char,
    },
    /// Not of the form `AET@HOST:PORT`.
    #[error("{text:?} is not AET@HOST:PORT (for example PACS@192.0.2.7:104)")]
    Shape {
        /// What was given.
        text: String,
    },
    /// The port is not a number from 1 to 65535.
    #[error("{port:?} in {text:?} is not a port (1 to 65535)")]
    Port {
        /// What was given.
        text: String,
        /// The part that should be the port.
        port: String,
    },
}

impl AeTitle {
    /// Checks an AE title.
    pub fn parse(text: &str) -> Result<AeTitle, InvalidPeer> {
        let title = text.trim_matches(' ');
        if title.is_empty() {
            return Err(InvalidPeer::EmptyTitle);
        }
        if let Some(character) = title.chars().find(|c| *c == '\\' || !(' '..='~').contains(c)) {
            return Err(InvalidPeer::TitleCharacter { title: title.to_owned(), character });
        }
        if title.len() > 16 {
            return Err(InvalidPeer::TitleTooLong { title: title.to_owned(), length: title.len() });
        }
        Ok(AeTitle(title.to_owned()))
    }

    /// The title without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AeTitle {
    type Err = InvalidPeer;

    fn from_str(text: &str) -> Result<AeTitle, InvalidPeer> {
        AeTitle::parse(text)
    }
}

/// An application entity that can be called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its AE title.
    pub ae_title: AeTitle,
    /// Host name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for Peer {
    type Err = InvalidPeer;

    /// Reads `AET@HOST:PORT`. The host ends at the last colon, the title at the last `@`.
    fn from_str(text: &str) -> Result<Peer, InvalidPeer> {
        let shape = || InvalidPeer::Shape { text: text.to_owned() };
        let (title, address) = text.rsplit_once('@').ok_or_else(shape)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(shape)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(shape());
        }
        let number = match port.parse::<u16>() {
            Ok(number) if number > 0 => number,
            _ => return Err(InvalidPeer::Port { text: text.to_owned(), port: port.to_owned() }),
        };
        Ok(Peer { ae_title: AeTitle::parse(title)?, host: host.to_owned(), port: number })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Peer { ae_title, host, port } = self;
        if host.contains(':') { write!(f, "{ae_title}@[{host}]:{port}") } else { write!(f, "{ae_title}@{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_read_as_they_are_written() {
        for text in ["PACS@192.0.2.7:104", "A B@pacs.example:11112", "ME@HOME@[::1]:1", "SIXTEEN_CHARS_16@h:65535"] {
            assert_eq!(text.parse::<Peer>().unwrap().to_string(), text);
        }
        assert_eq!(" PACS ".parse::<AeTitle>().unwrap().as_str(), "PACS");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Peer>().unwrap_err();
        assert!(matches!(error("PACS"), InvalidPeer::Shape { .. }));
        assert!(matches!(error("192.0.2.7:104"), InvalidPeer::Shape { .. }));
        assert!(matches!(error("PACS@192.0.2.7"), InvalidPeer::Shape { .. }));
        assert!(matches!(error("PACS@:104"), InvalidPeer::Shape { .. }));
        assert!(matches!(error("PACS@h:0"), InvalidPeer::Port { .. }));
        assert!(matches!(error("PACS@h:65536"), InvalidPeer::Port { .. }));
        assert!(matches!(error("@h:104"), InvalidPeer::EmptyTitle));
        assert!(matches!(error("SEVENTEEN_CHARS_1@h:104"), InvalidPeer::TitleTooLong { length: 17, .. }));
        assert!(matches!(error("PÄCS@h:104"), InvalidPeer::TitleCharacter { character: 'Ä', .. }));
        assert!(matches!(error("A\\B@h:104"), InvalidPeer::TitleCharacter { character: '\\', .. }));
    }
}
