//! What can be wrong inside a PDU (PS3.8 section 9.3), so that a receipt names the item, where it is and what it claims:
//! an administrator who reads only "invalid length" cannot tell a vendor what to mend.

use std::fmt;

/// A PDU whose content contradicts PS3.8 or itself. Bytes are counted from 1, as the standard's tables do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PduFault {
    /// Its fixed fields are not all there.
    #[error("its fixed fields take {needed} bytes, it has {bytes}")]
    TooShort {
        /// Bytes behind the header.
        bytes: usize,
        /// Bytes that are needed.
        needed: usize,
    },
    /// Too few bytes for another item.
    #[error("{bytes} stray bytes at the end of {within}, too few for an item's header")]
    StrayBytes {
        /// How many.
        bytes: usize,
        /// Where.
        within: Within,
    },
    /// An item ends beyond what it stands in.
    #[error("{item} claims {length} bytes, {left} are left in {within}")]
    BeyondItsEnd {
        /// The item.
        item: Label,
        /// Claimed length.
        length: u32,
        /// Bytes left.
        left: usize,
        /// What it stands in.
        within: Within,
    },
    /// An item whose length does not fit what it holds.
    #[error("{item} has {length} bytes, {expected}")]
    WrongLength {
        /// The item.
        item: Label,
        /// Its length.
        length: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// An item that must be there.
    #[error("{within} has no {missing}")]
    Missing {
        /// Its name.
        missing: &'static str,
        /// Where it should be.
        within: Within,
    },
    /// A known item in the wrong place.
    #[error("{item} may not stand in {within}")]
    Misplaced {
        /// The item.
        item: Label,
        /// Where it stands.
        within: Within,
    },
    /// A code that the standard does not define.
    #[error("{item} has the result {code}, which PS3.8 does not define")]
    UnknownResult {
        /// The item.
        item: Label,
        /// The code.
        code: u8,
    },
    /// Result, source and reason of an A-ASSOCIATE-RJ that do not go together.
    #[error("PS3.8 does not define result {result}, source {origin}, reason {reason}")]
    UnknownReason {
        /// Result.
        result: u8,
        /// Source.
        origin: u8,
        /// Reason.
        reason: u8,
    },
}

/// An item or presentation data value, so that a reader finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub(super) kind: Kind,
    /// Of its first byte within the PDU, counted from 1.
    pub(super) position: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An item or sub-item of this type.
    Item(u8),
    /// A presentation data value.
    Pdv,
}

/// What items stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// The PDU itself.
    Pdu,
    /// An item.
    Item(Label),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.position;
        match self.kind {
            Kind::Pdv => write!(f, "the presentation data value at byte {position}"),
            Kind::Item(code) => match name_of(code) {
                Some(name) => write!(f, "the {name} item ({code:02X}H) at byte {position}"),
                None => write!(f, "the item of unknown type {code:02X}H at byte {position}"),
            },
        }
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Within::Pdu => f.write_str("the PDU"),
            Within::Item(label) => label.fmt(f),
        }
    }
}

/// Items of the upper layer (PS3.8 section 9.3) and of the user information (PS3.7 annex D.3.3).
pub(super) fn name_of(item_type: u8) -> Option<&'static str> {
    let name = match item_type {
        0x10 => "Application Context",
        0x20 => "Presentation Context",
        0x21 => "Presentation Context answer",
        0x30 => "Abstract Syntax",
        0x40 => "Transfer Syntax",
        0x50 => "User Information",
        0x51 => "Maximum Length",
        0x52 => "Implementation Class UID",
        0x53 => "Asynchronous Operations Window",
        0x54 => "SCP/SCU Role Selection",
        0x55 => "Implementation Version Name",
        0x56 => "SOP Class Extended Negotiation",
        0x57 => "SOP Class Common Extended Negotiation",
        0x58 => "User Identity",
        0x59 => "User Identity answer",
        _ => return None,
    };
    Some(name)
}
