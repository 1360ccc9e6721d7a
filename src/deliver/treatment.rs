//! What becomes of an object after the destination's answer: the C-STORE statuses (PS3.4 table B.2-1, PS3.7 section
//! 9.1.1.1.9) and what each of them means for a delivery.
//!
//! The conformance statement prints this table.

use std::ops::RangeInclusive;

use crate::dicom::dimse::Status;

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// The destination has it: it is not sent there again.
    Delivered,
    /// What hindered passes by itself: it is sent again after a wait.
    TriedAgain,
    /// It would go wrong again: an operator must look.
    GivenUp,
}

impl Treatment {
    /// One word and what it means.
    pub fn words(self) -> &'static str {
        match self {
            Treatment::Delivered => "delivered: it is not sent there again",
            Treatment::TriedAgain => "tried again after a wait",
            Treatment::GivenUp => "refused: an ERROR is logged, `fcdd studies retry` sends it again",
        }
    }
}

/// Statuses that mean the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusClass {
    /// First to last.
    pub statuses: RangeInclusive<u16>,
    /// The standard's name.
    pub name: &'static str,
    /// What becomes of the object.
    pub treatment: Treatment,
}

const fn class(statuses: RangeInclusive<u16>, name: &'static str, treatment: Treatment) -> StatusClass {
    StatusClass { statuses, name, treatment }
}

/// The statuses that the standard knows for C-STORE.
pub const STORE_STATUSES: [StatusClass; 11] = [
    class(0x0000..=0x0000, "Success", Treatment::Delivered),
    class(0xB000..=0xBFFF, "Warning (coercion, elements discarded, data set does not match)", Treatment::Delivered),
    class(0xA700..=0xA7FF, "Refused: out of resources", Treatment::TriedAgain),
    class(0xA900..=0xA9FF, "Error: data set does not match SOP class", Treatment::GivenUp),
    class(0xC000..=0xCFFF, "Error: cannot understand", Treatment::GivenUp),
    class(0x0117..=0x0117, "Invalid SOP instance", Treatment::GivenUp),
    class(0x0122..=0x0122, "Refused: SOP class not supported", Treatment::GivenUp),
    class(0x0124..=0x0124, "Refused: not authorized", Treatment::GivenUp),
    class(0x0210..=0x0210, "Duplicate invocation", Treatment::GivenUp),
    class(0x0211..=0x0211, "Unrecognized operation", Treatment::GivenUp),
    class(0x0212..=0x0212, "Mistyped argument", Treatment::GivenUp),
];

/// A status that the table does not hold says nothing that we could rely on.
pub const ANY_OTHER_STATUS: Treatment = Treatment::GivenUp;

/// The class of a status.
pub fn class_of(status: Status) -> Option<&'static StatusClass> {
    static CLASSES: [StatusClass; 11] = STORE_STATUSES;
    CLASSES.iter().find(|class| class.statuses.contains(&status.0))
}

/// What a C-STORE status means for the object.
pub fn of_status(status: Status) -> Treatment {
    class_of(status).map_or(ANY_OTHER_STATUS, |class| class.treatment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_classed_as_the_standard_means_them() {
        for delivered in [0x0000, 0xB000, 0xB006, 0xB007, 0xBFFF] {
            assert_eq!(of_status(Status(delivered)), Treatment::Delivered, "{delivered:04X}");
        }
        for passing in [0xA700, 0xA7FF] {
            assert_eq!(of_status(Status(passing)), Treatment::TriedAgain, "{passing:04X}");
        }
        for refused in [0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0122, 0x0110, 0x0001, 0xA800, 0xFE00] {
            assert_eq!(of_status(Status(refused)), Treatment::GivenUp, "{refused:04X}");
        }
    }
}
