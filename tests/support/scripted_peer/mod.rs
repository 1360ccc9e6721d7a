//! A scripted DICOM peer: it sends bytes that are written out here field by field, from the standard and not
//! through any library, so that it can also send what no library would. And a receiver to send them to.

// Each group is a crate of its own that uses only a part of this module.
#![allow(dead_code, unused_imports)]

mod receiver;

pub use receiver::Receiver;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub const MR_IMAGE_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.4";
pub const VERIFICATION: &str = "1.2.840.10008.1.1";
pub const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";

/// Longest wait for anything that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Message control headers (PS3.8 annex E.2).
pub const COMMAND_LAST: u8 = 0x03;
pub const COMMAND_MORE: u8 = 0x01;
pub const DATA_LAST: u8 = 0x02;
pub const DATA_MORE: u8 = 0x00;

/// A-ABORT by the application.
pub const A_ABORT: [u8; 10] = [
    0x07, 0x00, // A-ABORT, reserved
    0x00, 0x00, 0x00, 0x04, // length 4
    0x00, 0x00, // reserved
    0x00, // source: service-user
    0x00, // reason: not significant
];

/// A-RELEASE-RQ.
pub const A_RELEASE_RQ: [u8; 10] = [
    0x05, 0x00, // A-RELEASE-RQ, reserved
    0x00, 0x00, 0x00, 0x04, // length 4
    0x00, 0x00, 0x00, 0x00, // reserved
];

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// PDU type and everything after the header.
    Pdu(u8, Vec<u8>),
    /// The connection was closed or reset.
    Closed,
}

impl Answer {
    /// Result, source and reason of an A-ASSOCIATE-RJ.
    pub fn rejection(&self) -> (u8, u8, u8) {
        match self {
            Answer::Pdu(0x03, body) => (body[1], body[2], body[3]),
            other => panic!("no A-ASSOCIATE-RJ: {other:?}"),
        }
    }

    /// Source and reason of an A-ABORT.
    pub fn abort(&self) -> (u8, u8) {
        match self {
            Answer::Pdu(0x07, body) => (body[2], body[3]),
            other => panic!("no A-ABORT: {other:?}"),
        }
    }

    /// Result and transfer syntax of every presentation context of an A-ASSOCIATE-AC, by its id.
    pub fn contexts(&self) -> BTreeMap<u8, (u8, String)> {
        let of_contexts = self.associate_ac_items().into_iter().filter(|(item_type, _)| *item_type == 0x21);
        // Context id, reserved, result, reserved, then the transfer syntax sub-item (PS3.8 table 9-18).
        of_contexts.map(|(_, value)| (value[0], (value[2], text_of(&value[8..])))).collect()
    }

    /// Type and value of every user information sub-item of an A-ASSOCIATE-AC.
    pub fn user_information(&self) -> Vec<(u8, Vec<u8>)> {
        let items = self.associate_ac_items();
        let (_, user_information) = items.iter().find(|(item_type, _)| *item_type == 0x50).expect("user information");
        items_in(user_information)
    }

    fn associate_ac_items(&self) -> Vec<(u8, Vec<u8>)> {
        match self {
            // Version (2), reserved (2), the AE titles (32), reserved (32), then the items (PS3.8 table 9-17).
            Answer::Pdu(0x02, body) => items_in(&body[68..]),
            other => panic!("no A-ASSOCIATE-AC: {other:?}"),
        }
    }

    /// Status and Error Comment of a response.
    pub fn status(&self) -> (u16, String) {
        let elements = self.command_elements();
        let comment = elements.get(&0x0902).map(|value| String::from_utf8_lossy(value).trim_end().to_owned());
        (number(elements.get(&0x0900).expect("a response has a status")), comment.unwrap_or_default())
    }

    /// Command Field of a response.
    pub fn command_field(&self) -> u16 {
        number(self.command_elements().get(&0x0100).expect("a response has a command field"))
    }

    /// The elements of group 0000, by number.
    fn command_elements(&self) -> BTreeMap<u16, &[u8]> {
        let Answer::Pdu(0x04, body) = self else { panic!("no P-DATA-TF: {self:?}") };
        // Item length (4), context id (1), message control header (1), then elements: tag (4), length (4), value.
        let (mut rest, mut elements) = (&body[6..], BTreeMap::new());
        while !rest.is_empty() {
            let element = u16::from_le_bytes([rest[2], rest[3]]);
            let length = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
            elements.insert(element, &rest[8..8 + length]);
            rest = &rest[8 + length..];
        }
        elements
    }
}

fn number(value: &[u8]) -> u16 {
    u16::from_le_bytes([value[0], value[1]])
}

/// One connection of the peer.
pub struct Peer {
    socket: TcpStream,
}

impl Peer {
    pub async fn connect(address: SocketAddr) -> Peer {
        Peer::connect_from([127, 0, 0, 1], address).await
    }

    /// Connects from an address of one's own, among those of loopback.
    pub async fn connect_from(own: [u8; 4], address: SocketAddr) -> Peer {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((own, 0))).expect("every address 127.x.x.x is this machine's");
        let socket = socket.connect(address).await.expect("the receiver listens");
        socket.set_nodelay(true).expect("a connected socket takes options");
        Peer { socket }
    }

    /// Connects and associates with one context (id 1) for MR in Explicit VR Little Endian and one (3) for C-ECHO.
    pub async fn associated(address: SocketAddr) -> Peer {
        let mut peer = Peer::connect(address).await;
        peer.send(&associate_rq("FCDD", "SCRIPT", &STANDARD_CONTEXTS)).await;
        let answer = peer.answer().await;
        assert!(matches!(answer, Answer::Pdu(0x02, _)), "no A-ASSOCIATE-AC: {answer:?}");
        peer
    }

    /// Sends bytes. Where the receiver has hung up already the rest is lost, as with a real peer.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    /// The next PDU.
    pub async fn answer(&mut self) -> Answer {
        timeout(PATIENCE, self.read_pdu()).await.expect("an answer within the deadline")
    }

    async fn read_pdu(&mut self) -> Answer {
        let mut header = [0; 6];
        if self.socket.read_exact(&mut header).await.is_err() {
            return Answer::Closed;
        }
        let mut body = vec![0; u32::from_be_bytes([header[2], header[3], header[4], header[5]]) as usize];
        match self.socket.read_exact(&mut body).await {
            Ok(_) => Answer::Pdu(header[0], body),
            Err(_) => Answer::Closed,
        }
    }

    /// Sends a C-STORE whole and gives the response.
    pub async fn store(&mut self, sop_instance: &str, dataset: &[u8]) -> Answer {
        self.send(&p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, sop_instance))])).await;
        self.send_dataset(1, dataset).await;
        self.answer().await
    }

    /// Sends a dataset in PDUs of 64 KiB.
    pub async fn send_dataset(&mut self, context_id: u8, dataset: &[u8]) {
        let mut fragments = dataset.chunks(65_536).peekable();
        while let Some(fragment) = fragments.next() {
            let control = if fragments.peek().is_none() { DATA_LAST } else { DATA_MORE };
            self.send(&p_data(&[(context_id, control, fragment)])).await;
        }
    }

    /// Releases, and sees that the receiver agrees.
    pub async fn release(mut self) {
        self.send(&A_RELEASE_RQ).await;
        let answer = self.answer().await;
        assert!(matches!(answer, Answer::Pdu(0x06, _)), "no A-RELEASE-RP: {answer:?}");
    }
}

/// The contexts of [`Peer::associated`].
pub const STANDARD_CONTEXTS: [(u8, &str, &[&str]); 2] =
    [(1, MR_IMAGE_STORAGE, &[EXPLICIT_LE]), (3, VERIFICATION, &[EXPLICIT_LE])];

/// An A-ASSOCIATE-RQ (PS3.8 section 9.3.2).
pub fn associate_rq(called_ae: &str, calling_ae: &str, contexts: &[(u8, &str, &[&str])]) -> Vec<u8> {
    associate_rq_with(called_ae, calling_ae, contexts, &[])
}

/// The same with further sub-items of the user information (PS3.7 annex D.3.3): type and value.
pub fn associate_rq_with(
    called_ae: &str,
    calling_ae: &str,
    contexts: &[(u8, &str, &[&str])],
    user_information_items: &[(u8, &[u8])],
) -> Vec<u8> {
    let mut body = vec![0x00, 0x01, 0x00, 0x00]; // protocol version 1, reserved
    body.extend(format!("{called_ae:<16}{calling_ae:<16}").bytes());
    body.extend([0; 32]); // reserved
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1")); // application context
    for (id, abstract_syntax, transfer_syntaxes) in contexts {
        let mut context = vec![*id, 0x00, 0x00, 0x00]; // context id, reserved
        context.extend(item(0x30, abstract_syntax.as_bytes()));
        for transfer_syntax in *transfer_syntaxes {
            context.extend(item(0x40, transfer_syntax.as_bytes()));
        }
        body.extend(item(0x20, &context));
    }
    let mut user_information = item(0x51, &65_536_u32.to_be_bytes()); // Maximum Length
    user_information.extend(item(0x52, b"1.2.3.4.5")); // Implementation Class UID
    for (item_type, value) in user_information_items {
        user_information.extend(item(*item_type, value));
    }
    body.extend(item(0x50, &user_information));
    pdu(0x01, &body)
}

/// A P-DATA-TF with these PDVs: context id, message control header, fragment (PS3.8 section 9.3.5).
pub fn p_data(values: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (context_id, control, fragment) in values {
        body.extend((fragment.len() as u32 + 2).to_be_bytes());
        body.extend([*context_id, *control]);
        body.extend(*fragment);
    }
    pdu(0x04, &body)
}

/// A PDU: type, reserved byte, length, body.
pub fn pdu(pdu_type: u8, body: &[u8]) -> Vec<u8> {
    [&[pdu_type, 0x00], (body.len() as u32).to_be_bytes().as_slice(), body].concat()
}

pub fn item(item_type: u8, value: &[u8]) -> Vec<u8> {
    [&[item_type, 0x00], (value.len() as u16).to_be_bytes().as_slice(), value].concat()
}

/// Type and value of the items in these bytes: type (1), reserved (1), length (2), value.
fn items_in(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let (value, rest) = bytes[4..].split_at(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])));
        items.push((bytes[0], value.to_vec()));
        bytes = rest;
    }
    items
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches(['\0', ' ']).to_owned()
}

/// The command set of a C-STORE-RQ (PS3.7 table 9.3-1), message ID 7.
pub fn store_rq(sop_class: &str, sop_instance: &str) -> Vec<u8> {
    command(&[
        (0x0002, &even(sop_class)), // Affected SOP Class UID
        (0x0100, &[0x01, 0x00]),    // C-STORE-RQ
        (0x0110, &[0x07, 0x00]),    // Message ID
        (0x0700, &[0x00, 0x00]),    // Priority: medium
        (0x0800, &[0x01, 0x00]),    // a dataset follows
        (0x1000, &even(sop_instance)),
    ])
}

/// The command set of a C-ECHO-RQ.
pub fn echo_rq() -> Vec<u8> {
    command(&[
        (0x0002, &even(VERIFICATION)),
        (0x0100, &[0x30, 0x00]), // C-ECHO-RQ
        (0x0110, &[0x01, 0x00]), // Message ID
        (0x0800, &[0x01, 0x01]), // no dataset
    ])
}

/// The command set of a C-FIND-RQ, which fcdd does not serve.
pub fn find_rq(dataset_type: u16) -> Vec<u8> {
    command(&[
        (0x0002, &even("1.2.840.10008.5.1.4.1.2.2.1")),
        (0x0100, &[0x20, 0x00]), // C-FIND-RQ
        (0x0110, &[0x05, 0x00]), // Message ID
        (0x0700, &[0x00, 0x00]), // Priority
        (0x0800, &dataset_type.to_le_bytes()),
    ])
}

/// Elements of group 0000 in Implicit VR Little Endian, behind their group length.
pub fn command(elements: &[(u16, &[u8])]) -> Vec<u8> {
    let mut set = Vec::new();
    for (element, value) in elements {
        set.extend([0x00, 0x00]);
        set.extend(element.to_le_bytes());
        set.extend((value.len() as u32).to_le_bytes());
        set.extend(*value);
    }
    let length = (set.len() as u32).to_le_bytes();
    [&[0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00], length.as_slice(), &set].concat()
}

/// A small MR dataset in Explicit VR Little Endian with `pixel_bytes` of pixel data.
pub fn dataset(sop_instance: &str, study: &str, pixel_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ui(&mut bytes, 0x0008, 0x0016, MR_IMAGE_STORAGE);
    ui(&mut bytes, 0x0008, 0x0018, sop_instance);
    ui(&mut bytes, 0x0020, 0x000D, study);
    ui(&mut bytes, 0x0020, 0x000E, &format!("{study}.1"));
    bytes.extend([0xE0, 0x7F, 0x10, 0x00, b'O', b'W', 0x00, 0x00]); // Pixel Data
    bytes.extend((pixel_bytes as u32).to_le_bytes());
    bytes.extend((0..pixel_bytes).map(|i| (i * 7 + i / 251) as u8));
    bytes
}

fn ui(bytes: &mut Vec<u8>, group: u16, element: u16, value: &str) {
    let value = even(value);
    bytes.extend(group.to_le_bytes());
    bytes.extend(element.to_le_bytes());
    bytes.extend(*b"UI");
    bytes.extend((value.len() as u16).to_le_bytes());
    bytes.extend(value);
}

fn even(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

/// Splits a DICOM file: SOP class, SOP instance, transfer syntax, and the dataset's bytes.
pub fn split_file(file: &[u8]) -> (String, String, String, &[u8]) {
    let group_length = u32::from_le_bytes(file[140..144].try_into().expect("a file meta group")) as usize;
    let (mut rest, dataset) = file[144..].split_at(group_length);
    let mut texts = [const { String::new() }; 3];
    while !rest.is_empty() {
        let element = u16::from_le_bytes([rest[2], rest[3]]);
        let (start, length) = match &rest[4..6] {
            b"OB" | b"UN" => (12, u32::from_le_bytes([rest[8], rest[9], rest[10], rest[11]]) as usize),
            _ => (8, usize::from(u16::from_le_bytes([rest[6], rest[7]]))),
        };
        let place = [0x0002, 0x0003, 0x0010].iter().position(|wanted| *wanted == element);
        if let Some(place) = place {
            texts[place] = String::from_utf8_lossy(&rest[start..start + length]).trim_end_matches('\0').to_owned();
        }
        rest = &rest[start + length..];
    }
    let [sop_class, sop_instance, transfer_syntax] = texts;
    (sop_class, sop_instance, transfer_syntax, dataset)
}
