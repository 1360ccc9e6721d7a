//! Walks over the elements of a dataset while its bytes are still coming in.
//!
//! What is kept is the place: an unfinished header (at most 12 bytes), how much of a value is still to come, and which
//! sequences are open. Where the bytes are cut does not matter, and no length that a dataset claims is ever allocated.
//! Only elements of the dataset itself are shown; what lies within sequences is passed over.

use super::identifying::{EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};

/// Deepest nesting of sequences that is followed.
pub(super) const MAX_DEPTH: usize = 32;

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_DELIMITATION: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_DELIMITATION: Tag = Tag(0xFFFE, 0xE0DD);
const UNDEFINED_LENGTH: u32 = 0xFFFF_FFFF;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(pub(super) u16, pub(super) u16);

/// How elements are written (PS3.5 annex A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) explicit: bool,
    pub(super) big_endian: bool,
}

impl Encoding {
    const IMPLICIT_LITTLE_ENDIAN: Encoding = Encoding { explicit: false, big_endian: false };

    /// That of a transfer syntax. Every encapsulated one, and inflated bytes, are Explicit VR Little Endian outside the
    /// pixel data (PS3.5 annex A).
    pub(super) fn of(transfer_syntax: &str) -> Encoding {
        match transfer_syntax {
            IMPLICIT_VR_LITTLE_ENDIAN => Encoding::IMPLICIT_LITTLE_ENDIAN,
            EXPLICIT_VR_BIG_ENDIAN => Encoding { explicit: true, big_endian: true },
            _ => Encoding { explicit: true, big_endian: false },
        }
    }

    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// What the walk came upon.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sight<'a> {
    /// An element of the dataset begins; `value_bytes` is `None` for a sequence of undefined length.
    Element { tag: Tag, value_bytes: Option<u32> },
    /// A part of its value, never empty.
    Value(&'a [u8]),
}

/// Why the walk cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    NotEncodedSo,
    TooDeep,
}

/// A structure of undefined length that has not ended yet.
#[derive(Debug)]
enum Open {
    /// With the encoding that goes on after it.
    Sequence {
        outside: Encoding,
    },
    Item,
}

#[derive(Debug)]
struct Header {
    tag: Tag,
    /// `None`: undefined.
    length: Option<u32>,
    /// UN with undefined length holds Implicit VR Little Endian, whatever surrounds it (PS3.5 section 6.2.2).
    is_un: bool,
}

#[derive(Debug)]
pub(super) struct ElementWalk {
    encoding: Encoding,
    /// Bytes of a header that is not all there.
    header: Vec<u8>,
    /// Bytes of the value under way that are still to come.
    value_left: u32,
    open: Vec<Open>,
    position: usize,
    /// Where the header that was read last begins.
    header_begin: usize,
}

impl ElementWalk {
    pub(super) fn new(encoding: Encoding) -> ElementWalk {
        ElementWalk {
            encoding,
            header: Vec::with_capacity(12),
            value_left: 0,
            open: Vec::new(),
            position: 0,
            header_begin: 0,
        }
    }

    /// Bytes that were walked over so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Where the header of the element that was seen last begins.
    pub(super) fn header_begin(&self) -> usize {
        self.header_begin
    }

    /// The next sight, and `bytes` without what was walked over; `None` once `bytes` is used up.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Sight<'a>>, Fault> {
        loop {
            if self.value_left > 0 {
                let part = self.take(bytes, self.value_left as usize);
                if part.is_empty() {
                    return Ok(None);
                }
                self.value_left -= part.len() as u32;
                if self.open.is_empty() {
                    return Ok(Some(Sight::Value(part)));
                }
                continue;
            }
            let Some(header) = self.header(bytes)? else { return Ok(None) };
            if let Some(sight) = self.enter(&header)? {
                return Ok(Some(sight));
            }
        }
    }

    fn take<'a>(&mut self, bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
        *bytes = rest;
        self.position += taken.len();
        taken
    }

    /// The next header; `None` while a part of it is missing.
    fn header(&mut self, bytes: &mut &[u8]) -> Result<Option<Header>, Fault> {
        if self.header.is_empty() {
            self.header_begin = self.position;
        }
        loop {
            let missing = match self.header.first_chunk::<8>() {
                None => 8 - self.header.len(),
                Some(first) => match self.decode(*first)? {
                    Decoded::Header(header) => {
                        self.header.clear();
                        return Ok(Some(header));
                    }
                    Decoded::Missing(missing) => missing,
                },
            };
            let part = self.take(bytes, missing);
            if part.is_empty() {
                return Ok(None);
            }
            self.header.extend_from_slice(part);
        }
    }

    fn decode(&self, first: [u8; 8]) -> Result<Decoded, Fault> {
        let [group @ .., e0, e1, a, b, c, d] = first;
        let tag = Tag(self.encoding.u16(group), self.encoding.u16([e0, e1]));
        let long = |bytes, is_un| {
            let length = self.encoding.u32(bytes);
            Decoded::Header(Header { tag, length: (length != UNDEFINED_LENGTH).then_some(length), is_un })
        };
        // Item tags never have a VR (PS3.5 section 7.5).
        if !self.encoding.explicit || tag.0 == 0xFFFE {
            return Ok(long([a, b, c, d], false));
        }
        match &[a, b] {
            b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FL" | b"FD" | b"IS" | b"LO" | b"LT" | b"PN"
            | b"SH" | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => {
                let length = Some(u32::from(self.encoding.u16([c, d])));
                Ok(Decoded::Header(Header { tag, length, is_un: false }))
            }
            // Every other VR, also one of the future, has two reserved bytes and a long length (PS3.5 section 7.1.2).
            vr if vr.iter().all(u8::is_ascii_uppercase) => match self.header.get(8..).unwrap_or_default() {
                [a, b, c, d, ..] => Ok(long([*a, *b, *c, *d], vr == b"UN")),
                some => Ok(Decoded::Missing(4 - some.len())),
            },
            _ => Err(Fault::NotEncodedSo),
        }
    }

    /// Goes on behind a header; gives the element where it is one of the dataset itself.
    fn enter(&mut self, header: &Header) -> Result<Option<Sight<'static>>, Fault> {
        match (self.open.last(), header.tag) {
            (None, tag) => {
                self.enter_element(header)?;
                return Ok(Some(Sight::Element { tag, value_bytes: header.length }));
            }
            (Some(Open::Sequence { outside }), SEQUENCE_DELIMITATION) => {
                self.encoding = *outside;
                self.open.pop();
            }
            (Some(Open::Sequence { .. }), ITEM) => match header.length {
                None => self.open.push(Open::Item),
                Some(length) => self.value_left = length,
            },
            (Some(Open::Sequence { .. }), _) => return Err(Fault::NotEncodedSo),
            (Some(Open::Item), ITEM_DELIMITATION) => {
                self.open.pop();
            }
            (Some(Open::Item), _) => self.enter_element(header)?,
        }
        Ok(None)
    }

    fn enter_element(&mut self, header: &Header) -> Result<(), Fault> {
        if let Some(length) = header.length {
            self.value_left = length;
            return Ok(());
        }
        // A sequence lies in an item, that in a sequence: every other structure that is open is a sequence.
        if self.open.len().div_ceil(2) >= MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        self.open.push(Open::Sequence { outside: self.encoding });
        if header.is_un {
            self.encoding = Encoding::IMPLICIT_LITTLE_ENDIAN;
        }
        Ok(())
    }
}

enum Decoded {
    Header(Header),
    /// So many more bytes of it are needed.
    Missing(usize),
}
