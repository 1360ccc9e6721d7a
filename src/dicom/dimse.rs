//! DIMSE command sets (PS3.7 sections 9.3.1, 9.3.5 and annex E): C-STORE and C-ECHO, requests and responses.
//!
//! A command set is always Implicit VR Little Endian. Reading is strict about structure and never panics;
//! values that a later check judges better (UIDs) are handed on as text.

use std::fmt;

/// Longest command set that is assembled or read. Real ones are under 500 bytes.
pub const MAX_COMMAND_BYTES: usize = 65_536;

/// Longest Error Comment (0000,0902): an LO. A longer one makes some peers drop the whole response.
const MAX_ERROR_COMMENT_CHARS: usize = 64;

/// Command Data Set Type (0000,0800) when no dataset follows; any other value means that one does.
const NO_DATASET: u16 = 0x0101;

/// SOP class of C-ECHO.
pub const VERIFICATION: &str = "1.2.840.10008.1.1";

const COMMAND_GROUP_LENGTH: u16 = 0x0000;
const AFFECTED_SOP_CLASS_UID: u16 = 0x0002;
const COMMAND_FIELD: u16 = 0x0100;
const MESSAGE_ID: u16 = 0x0110;
const MESSAGE_ID_BEING_RESPONDED_TO: u16 = 0x0120;
const PRIORITY: u16 = 0x0700;
const COMMAND_DATA_SET_TYPE: u16 = 0x0800;
const STATUS: u16 = 0x0900;
const ERROR_COMMENT: u16 = 0x0902;
const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;

const C_STORE_RQ: u16 = 0x0001;
const C_STORE_RSP: u16 = 0x8001;
const C_ECHO_RQ: u16 = 0x0030;
const C_ECHO_RSP: u16 = 0x8030;
const RESPONSE_BIT: u16 = 0x8000;

/// A DIMSE status (PS3.7 annex C, PS3.4 table B.2-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

impl Status {
    /// Done.
    pub const SUCCESS: Status = Status(0x0000);
    /// The SOP instance UID cannot be used (PS3.7 annex C.5.11).
    pub const INVALID_SOP_INSTANCE: Status = Status(0x0117);
    /// The SOP class does not belong to the presentation context.
    pub const SOP_CLASS_NOT_SUPPORTED: Status = Status(0x0122);
    /// No such operation here.
    pub const UNRECOGNIZED_OPERATION: Status = Status(0x0211);
    /// Refused for now: out of resources. The sender should try again later.
    pub const OUT_OF_RESOURCES: Status = Status(0xA700);
    /// The dataset does not match the SOP class or instance of the command.
    pub const DATASET_DOES_NOT_MATCH: Status = Status(0xA900);
    /// The dataset cannot be understood.
    pub const CANNOT_UNDERSTAND: Status = Status(0xC000);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}H", self.0)
    }
}

/// C-STORE-RQ (PS3.7 section 9.3.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CStoreRq {
    /// Message ID (0000,0110).
    pub message_id: u16,
    /// Affected SOP Class UID, as sent, without padding; unchecked.
    pub sop_class_uid: String,
    /// Affected SOP Instance UID, as sent, without padding; unchecked.
    pub sop_instance_uid: String,
}

/// C-STORE-RSP (PS3.7 section 9.3.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CStoreRsp {
    /// Message ID of the request.
    pub message_id: u16,
    /// Affected SOP Class UID; empty where it was left out.
    pub sop_class_uid: String,
    /// Affected SOP Instance UID; empty where it was left out.
    pub sop_instance_uid: String,
    /// How it went.
    pub status: Status,
    /// Error Comment; empty: none. Cut to 64 characters when it is sent.
    pub error_comment: String,
}

/// A command set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Store the dataset that follows.
    CStoreRq(CStoreRq),
    /// Answer to it.
    CStoreRsp(CStoreRsp),
    /// Are you there?
    CEchoRq {
        /// Message ID.
        message_id: u16,
    },
    /// Answer to it.
    CEchoRsp {
        /// Message ID of the request.
        message_id: u16,
        /// How it went.
        status: Status,
    },
    /// A request for a service that fcdd does not offer.
    OtherRq {
        /// Command Field (0000,0100).
        command_field: u16,
        /// Message ID; 0 where there was none (C-CANCEL).
        message_id: u16,
        /// Whether a dataset follows.
        has_dataset: bool,
    },
    /// The answer to such a request, or a response that nobody asked for.
    OtherRsp {
        /// Command Field with the response bit.
        command_field: u16,
        /// Message ID of the request.
        message_id: u16,
        /// How it went.
        status: Status,
    },
}

/// A command set that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DimseError {
    /// Too many bytes.
    #[error("the command set has {bytes} bytes, at most {MAX_COMMAND_BYTES} are allowed")]
    TooLong {
        /// Bytes found.
        bytes: usize,
    },
    /// An element ends beyond the command set.
    #[error("element (0000,{element:04X}) of the command set claims {length} bytes, {left} are left")]
    Truncated {
        /// Element number.
        element: u16,
        /// Claimed length.
        length: u32,
        /// Bytes left.
        left: usize,
    },
    /// A few bytes at the end are no element.
    #[error("{bytes} stray bytes at the end of the command set")]
    StrayBytes {
        /// How many.
        bytes: usize,
    },
    /// A group other than 0000.
    #[error("the command set holds element ({group:04X},{element:04X}), only group 0000 is allowed")]
    WrongGroup {
        /// Group found.
        group: u16,
        /// Element found.
        element: u16,
    },
    /// Elements out of order or twice.
    #[error("element (0000,{element:04X}) of the command set is out of order")]
    OutOfOrder {
        /// Element number.
        element: u16,
    },
    /// A number that is not two bytes long.
    #[error("element (0000,{element:04X}) of the command set has {length} bytes, 2 were expected")]
    NotANumber {
        /// Element number.
        element: u16,
        /// Bytes found.
        length: usize,
    },
    /// An element that this command needs.
    #[error("the command set lacks element (0000,{element:04X})")]
    Missing {
        /// Element number.
        element: u16,
    },
    /// A C-STORE-RQ that announces no dataset.
    #[error("the C-STORE request says that no data set follows")]
    StoreWithoutDataset,
}

impl Command {
    /// Reads a command set. Elements that are not used here are passed over.
    pub fn decode(bytes: &[u8]) -> Result<Command, DimseError> {
        let elements = Elements::parse(bytes)?;
        let command_field = elements.number(COMMAND_FIELD)?;
        let has_dataset = elements.number(COMMAND_DATA_SET_TYPE)? != NO_DATASET;
        match command_field {
            C_STORE_RQ if !has_dataset => Err(DimseError::StoreWithoutDataset),
            C_STORE_RQ => Ok(Command::CStoreRq(CStoreRq {
                message_id: elements.number(MESSAGE_ID)?,
                sop_class_uid: elements.required_text(AFFECTED_SOP_CLASS_UID)?,
                sop_instance_uid: elements.required_text(AFFECTED_SOP_INSTANCE_UID)?,
            })),
            C_STORE_RSP => Ok(Command::CStoreRsp(CStoreRsp {
                message_id: elements.number(MESSAGE_ID_BEING_RESPONDED_TO)?,
                sop_class_uid: elements.text(AFFECTED_SOP_CLASS_UID),
                sop_instance_uid: elements.text(AFFECTED_SOP_INSTANCE_UID),
                status: Status(elements.number(STATUS)?),
                error_comment: elements.text(ERROR_COMMENT),
            })),
            C_ECHO_RQ => Ok(Command::CEchoRq { message_id: elements.number(MESSAGE_ID)? }),
            C_ECHO_RSP => Ok(Command::CEchoRsp {
                message_id: elements.number(MESSAGE_ID_BEING_RESPONDED_TO)?,
                status: Status(elements.number(STATUS)?),
            }),
            _ if command_field & RESPONSE_BIT != 0 => Ok(Command::OtherRsp {
                command_field,
                message_id: elements.number(MESSAGE_ID_BEING_RESPONDED_TO)?,
                status: Status(elements.number(STATUS)?),
            }),
            _ => Ok(Command::OtherRq {
                command_field,
                message_id: elements.number(MESSAGE_ID).unwrap_or(0),
                has_dataset,
            }),
        }
    }

    /// The command set's bytes, with its group length.
    pub fn encode(&self) -> Vec<u8> {
        let mut set = Encoder::default();
        match self {
            Command::CStoreRq(rq) => {
                set.uid(AFFECTED_SOP_CLASS_UID, &rq.sop_class_uid);
                set.number(COMMAND_FIELD, C_STORE_RQ);
                set.number(MESSAGE_ID, rq.message_id);
                set.number(PRIORITY, 0); // medium
                set.number(COMMAND_DATA_SET_TYPE, 0x0001);
                set.uid(AFFECTED_SOP_INSTANCE_UID, &rq.sop_instance_uid);
            }
            Command::CStoreRsp(rsp) => {
                set.uid(AFFECTED_SOP_CLASS_UID, &rsp.sop_class_uid);
                set.number(COMMAND_FIELD, C_STORE_RSP);
                set.number(MESSAGE_ID_BEING_RESPONDED_TO, rsp.message_id);
                set.number(COMMAND_DATA_SET_TYPE, NO_DATASET);
                set.number(STATUS, rsp.status.0);
                set.comment(&rsp.error_comment);
                set.uid(AFFECTED_SOP_INSTANCE_UID, &rsp.sop_instance_uid);
            }
            Command::CEchoRq { message_id } => {
                set.uid(AFFECTED_SOP_CLASS_UID, VERIFICATION);
                set.number(COMMAND_FIELD, C_ECHO_RQ);
                set.number(MESSAGE_ID, *message_id);
                set.number(COMMAND_DATA_SET_TYPE, NO_DATASET);
            }
            Command::CEchoRsp { message_id, status } => {
                set.uid(AFFECTED_SOP_CLASS_UID, VERIFICATION);
                set.number(COMMAND_FIELD, C_ECHO_RSP);
                set.number(MESSAGE_ID_BEING_RESPONDED_TO, *message_id);
                set.number(COMMAND_DATA_SET_TYPE, NO_DATASET);
                set.number(STATUS, status.0);
            }
            Command::OtherRq { command_field, message_id, has_dataset } => {
                set.number(COMMAND_FIELD, *command_field);
                set.number(MESSAGE_ID, *message_id);
                set.number(COMMAND_DATA_SET_TYPE, if *has_dataset { 0x0001 } else { NO_DATASET });
            }
            Command::OtherRsp { command_field, message_id, status } => {
                set.number(COMMAND_FIELD, *command_field);
                set.number(MESSAGE_ID_BEING_RESPONDED_TO, *message_id);
                set.number(COMMAND_DATA_SET_TYPE, NO_DATASET);
                set.number(STATUS, status.0);
            }
        }
        set.finish()
    }

    /// The response without a dataset to a request of any kind; `None` for a C-CANCEL, which has none.
    pub fn response_to(command_field: u16, message_id: u16, status: Status) -> Option<Command> {
        const C_CANCEL_RQ: u16 = 0x0FFF;
        (command_field != C_CANCEL_RQ).then_some(Command::OtherRsp {
            command_field: command_field | RESPONSE_BIT,
            message_id,
            status,
        })
    }
}

/// The elements of one command set, in order, as they came.
struct Elements<'a> {
    elements: Vec<(u16, &'a [u8])>,
}

impl<'a> Elements<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Elements<'a>, DimseError> {
        if bytes.len() > MAX_COMMAND_BYTES {
            return Err(DimseError::TooLong { bytes: bytes.len() });
        }
        let mut elements: Vec<(u16, &[u8])> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some((header, after)) = rest.split_first_chunk::<8>() else {
                return Err(DimseError::StrayBytes { bytes: rest.len() });
            };
            let [g0, g1, e0, e1, length @ ..] = *header;
            let (group, element) = (u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1]));
            let length = u32::from_le_bytes(length);
            if group != 0 {
                return Err(DimseError::WrongGroup { group, element });
            }
            if elements.last().is_some_and(|(previous, _)| *previous >= element) {
                return Err(DimseError::OutOfOrder { element });
            }
            let Some((value, after)) = after.split_at_checked(length as usize) else {
                return Err(DimseError::Truncated { element, length, left: after.len() });
            };
            // The group length is not compared: the PDVs have already said where the set ends, and a sender
            // that counts wrongly loses nothing by it.
            if element != COMMAND_GROUP_LENGTH {
                elements.push((element, value));
            }
            rest = after;
        }
        Ok(Elements { elements })
    }

    fn value(&self, element: u16) -> Option<&'a [u8]> {
        self.elements.iter().find(|(e, _)| *e == element).map(|(_, value)| *value)
    }

    fn number(&self, element: u16) -> Result<u16, DimseError> {
        let value = self.value(element).ok_or(DimseError::Missing { element })?;
        let bytes = <[u8; 2]>::try_from(value).map_err(|_| DimseError::NotANumber { element, length: value.len() })?;
        Ok(u16::from_le_bytes(bytes))
    }

    /// Text without padding; empty where the element is missing. Bytes that are no UTF-8 become U+FFFD.
    fn text(&self, element: u16) -> String {
        let text = String::from_utf8_lossy(self.value(element).unwrap_or_default());
        text.trim_end_matches(['\0', ' ']).to_owned()
    }

    fn required_text(&self, element: u16) -> Result<String, DimseError> {
        match self.text(element) {
            text if text.is_empty() => Err(DimseError::Missing { element }),
            text => Ok(text),
        }
    }
}

/// Writes elements; they must be given in ascending order.
#[derive(Default)]
struct Encoder {
    elements: Vec<u8>,
}

impl Encoder {
    fn element(&mut self, element: u16, value: &[u8], padding: u8) {
        let padded_length = value.len().next_multiple_of(2);
        self.elements.extend_from_slice(&[0, 0]);
        self.elements.extend_from_slice(&element.to_le_bytes());
        // Values are at most 64 KiB, see `decode`; a cast cannot lose anything.
        self.elements.extend_from_slice(&(padded_length as u32).to_le_bytes());
        self.elements.extend_from_slice(value);
        self.elements.resize(self.elements.len() + padded_length - value.len(), padding);
    }

    fn number(&mut self, element: u16, value: u16) {
        self.element(element, &value.to_le_bytes(), 0);
    }

    fn uid(&mut self, element: u16, value: &str) {
        if !value.is_empty() {
            self.element(element, value.as_bytes(), 0);
        }
    }

    /// Error Comment in the default repertoire: what is not printable ASCII becomes `?`, and 64 characters are the end.
    fn comment(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let printable = |c: char| if c == '\\' || !(' '..='~').contains(&c) { '?' } else { c };
        let text: String = text.chars().take(MAX_ERROR_COMMENT_CHARS).map(printable).collect();
        self.element(ERROR_COMMENT, text.as_bytes(), b' ');
    }

    fn finish(self) -> Vec<u8> {
        let mut set = Encoder::default();
        set.element(COMMAND_GROUP_LENGTH, &(self.elements.len() as u32).to_le_bytes(), 0);
        set.elements.extend_from_slice(&self.elements);
        set.elements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The golden bytes were written by pynetdicom, not by the code under test.

    #[rustfmt::skip]
    const STORE_RQ: &[u8] = &[
        0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x6E, 0x00, 0x00, 0x00, // (0000,0000) group length 110
        0x00, 0x00, 0x02, 0x00, 0x1A, 0x00, 0x00, 0x00, // (0000,0002) Affected SOP Class UID, 26 bytes: MR Image Storage
        b'1', b'.', b'2', b'.', b'8', b'4', b'0', b'.', b'1', b'0', b'0', b'0', b'8', b'.', b'5', b'.', b'1', b'.',
        b'4', b'.', b'1', b'.', b'1', b'.', b'4', 0x00,
        0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00, // (0000,0100) Command Field 0001H
        0x00, 0x00, 0x10, 0x01, 0x02, 0x00, 0x00, 0x00, 0x07, 0x00, // (0000,0110) Message ID 7
        0x00, 0x00, 0x00, 0x07, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, // (0000,0700) Priority medium
        0x00, 0x00, 0x00, 0x08, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00, // (0000,0800) a dataset follows
        0x00, 0x00, 0x00, 0x10, 0x1C, 0x00, 0x00, 0x00, // (0000,1000) Affected SOP Instance UID, 28 bytes
        b'1', b'.', b'2', b'.', b'8', b'2', b'6', b'.', b'0', b'.', b'1', b'.', b'3', b'6', b'8', b'0', b'0', b'4',
        b'3', b'.', b'8', b'.', b'4', b'9', b'8', b'.', b'1', 0x00,
    ];

    #[rustfmt::skip]
    const STORE_RSP: &[u8] = &[
        0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, // (0000,0000) group length 128
        0x00, 0x00, 0x02, 0x00, 0x1A, 0x00, 0x00, 0x00, // (0000,0002) Affected SOP Class UID
        b'1', b'.', b'2', b'.', b'8', b'4', b'0', b'.', b'1', b'0', b'0', b'0', b'8', b'.', b'5', b'.', b'1', b'.',
        b'4', b'.', b'1', b'.', b'1', b'.', b'4', 0x00,
        0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x01, 0x80, // (0000,0100) Command Field 8001H
        0x00, 0x00, 0x20, 0x01, 0x02, 0x00, 0x00, 0x00, 0x07, 0x00, // (0000,0120) Message ID Being Responded To 7
        0x00, 0x00, 0x00, 0x08, 0x02, 0x00, 0x00, 0x00, 0x01, 0x01, // (0000,0800) no dataset
        0x00, 0x00, 0x00, 0x09, 0x02, 0x00, 0x00, 0x00, 0x00, 0xA7, // (0000,0900) Status A700H
        0x00, 0x00, 0x02, 0x09, 0x0A, 0x00, 0x00, 0x00, // (0000,0902) Error Comment, padded to 10
        b'd', b'i', b's', b'k', b' ', b'f', b'u', b'l', b'l', b' ',
        0x00, 0x00, 0x00, 0x10, 0x1C, 0x00, 0x00, 0x00, // (0000,1000) Affected SOP Instance UID
        b'1', b'.', b'2', b'.', b'8', b'2', b'6', b'.', b'0', b'.', b'1', b'.', b'3', b'6', b'8', b'0', b'0', b'4',
        b'3', b'.', b'8', b'.', b'4', b'9', b'8', b'.', b'1', 0x00,
    ];

    #[rustfmt::skip]
    const ECHO_RQ_WITHOUT_SOP_CLASS: &[u8] = &[
        0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x1E, 0x00, 0x00, 0x00, // (0000,0000) group length 30
        0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x30, 0x00, // (0000,0100) Command Field 0030H
        0x00, 0x00, 0x10, 0x01, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00, // (0000,0110) Message ID 1
        0x00, 0x00, 0x00, 0x08, 0x02, 0x00, 0x00, 0x00, 0x01, 0x01, // (0000,0800) no dataset
    ];

    fn store_rq() -> Command {
        Command::CStoreRq(CStoreRq {
            message_id: 7,
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.4".into(),
            sop_instance_uid: "1.2.826.0.1.3680043.8.498.1".into(),
        })
    }

    fn store_rsp(comment: &str) -> Command {
        Command::CStoreRsp(CStoreRsp {
            message_id: 7,
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.4".into(),
            sop_instance_uid: "1.2.826.0.1.3680043.8.498.1".into(),
            status: Status(0xA700),
            error_comment: comment.into(),
        })
    }

    #[test]
    fn a_store_request_reads_and_writes_as_pynetdicom_does() {
        assert_eq!(Command::decode(STORE_RQ), Ok(store_rq()));
        assert_eq!(store_rq().encode(), STORE_RQ);
    }

    #[test]
    fn a_store_response_reads_and_writes_as_pynetdicom_does() {
        assert_eq!(Command::decode(STORE_RSP), Ok(store_rsp("disk full")));
        assert_eq!(store_rsp("disk full").encode(), STORE_RSP);
    }

    #[test]
    fn an_echo_request_without_its_sop_class_is_still_an_echo() {
        assert_eq!(Command::decode(ECHO_RQ_WITHOUT_SOP_CLASS), Ok(Command::CEchoRq { message_id: 1 }));
        for command in [Command::CEchoRq { message_id: 9 }, Command::CEchoRsp { message_id: 9, status: Status(0) }] {
            assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
    }

    #[test]
    fn an_error_comment_ends_after_64_characters() {
        let long = format!("{}ü\\{}", "x".repeat(40), "y".repeat(60));
        let Ok(Command::CStoreRsp(rsp)) = Command::decode(&store_rsp(&long).encode()) else { panic!("no C-STORE-RSP") };
        assert_eq!(rsp.error_comment, format!("{}??{}", "x".repeat(40), "y".repeat(22)));
    }

    #[test]
    fn every_truncation_is_an_error_and_none_a_panic() {
        for length in 0..STORE_RQ.len() {
            assert!(Command::decode(&STORE_RQ[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn every_changed_byte_is_survived() {
        for position in 0..STORE_RQ.len() {
            for value in [0x00, 0x01, 0x7F, 0x80, 0xFF] {
                let mut bytes = STORE_RQ.to_vec();
                bytes[position] = value;
                let _ = Command::decode(&bytes);
            }
        }
    }

    #[test]
    fn elements_out_of_order_or_of_another_group_are_refused() {
        let mut twice = ECHO_RQ_WITHOUT_SOP_CLASS.to_vec();
        twice.extend_from_slice(&ECHO_RQ_WITHOUT_SOP_CLASS[32..]);
        assert_eq!(Command::decode(&twice), Err(DimseError::OutOfOrder { element: 0x0800 }));
        let mut other_group = ECHO_RQ_WITHOUT_SOP_CLASS.to_vec();
        other_group[12] = 0x08;
        assert_eq!(Command::decode(&other_group), Err(DimseError::WrongGroup { group: 8, element: 0x0100 }));
        assert!(matches!(Command::decode(&vec![0; 70_000]), Err(DimseError::TooLong { .. })));
    }

    #[test]
    fn a_store_request_without_a_dataset_is_refused() {
        let mut bytes = STORE_RQ.to_vec();
        bytes[84..86].copy_from_slice(&[0x01, 0x01]);
        assert_eq!(Command::decode(&bytes), Err(DimseError::StoreWithoutDataset));
    }

    #[test]
    fn other_services_are_recognised_as_such() {
        let find = Command::OtherRq { command_field: 0x0020, message_id: 3, has_dataset: true };
        assert_eq!(Command::decode(&find.encode()), Ok(find));
        assert!(matches!(
            Command::response_to(0x0020, 3, Status::UNRECOGNIZED_OPERATION),
            Some(Command::OtherRsp { command_field: 0x8020, status: Status::UNRECOGNIZED_OPERATION, .. })
        ));
        assert_eq!(Command::response_to(0x0FFF, 3, Status::UNRECOGNIZED_OPERATION), None);
    }
}
