//! The DICOM upper layer (PS3.8 section 9.3) on a connection: PDUs in, PDUs out, for acceptor and requestor.
//!
//! dicom-ul's codec writes the PDUs and `pdu_reader` reads them; here is the framing around both:
//!
//! 1. A length is checked before anything is allocated for it, a PDU type before its length is believed.
//! 2. A PDU is sent in one write, with Nagle's algorithm off; acknowledgements are not delayed while we read.
//!    (DCMTK writes each PDU's header alone; with delayed acknowledgements every PDU then stalls for 40 ms.)
//! 3. Every wait has a deadline. [`PduStream::receive`] can be called again after a timeout: nothing is lost.
//!
//! Left to the callers: which PDU may come when, what goes into a message, and when to give up.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use dicom_ul::pdu::{AbortRQSource, PDataValueType, Pdu, UserVariableItem, WriteError, write_pdu};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::identity::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use super::pdu_fault::PduFault;
use super::pdu_reader::{PDU_HEADER_BYTES, read_body};
use super::peer_text;
use super::transport::Transport;

/// Longest association PDU that is read, and the longest P-DATA-TF PDU that is sent, bytes without the header.
/// A legal A-ASSOCIATE-RQ with 128 presentation contexts can be 51 KB.
pub const ASSOCIATION_PDU_BYTES: u32 = 131_072;

/// The application context of DICOM (PS3.7 annex A.2.1).
pub const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";

/// Shortest limit that dicom-ul's codec takes for P-DATA-TF, bytes without the header.
pub const SMALLEST_MAX_PDU: u32 = dicom_ul::pdu::MINIMUM_PDU_SIZE;

/// How long a closing side waits for the peer to see an A-ABORT, A-ASSOCIATE-RJ or A-RELEASE-RP (the ARTIM
/// timer of PS3.8 section 9.1.5, kept short because the connection has no other use any more).
pub const CLOSE_LINGER: Duration = Duration::from_secs(1);

/// Space that is kept ready for reading, so that several small PDUs arrive with one system call.
const READ_AHEAD_BYTES: usize = 65_536;

/// Item length field, context id and message control header of a PDV (PS3.8 section 9.3.5.1).
const PDV_HEADER_BYTES: u32 = 6;

/// What can go wrong between two upper layers.
#[derive(Debug, thiserror::Error)]
pub enum UpperLayerError {
    /// The first bytes are no DICOM PDU.
    #[error("this is not DICOM: {what} (first bytes \"{first_bytes}\")")]
    NotDicom {
        /// What the bytes look like, e.g. `an HTTP request`.
        what: &'static str,
        /// Up to 16 bytes, escaped.
        first_bytes: String,
    },
    /// A PDU announces more bytes than were agreed.
    #[error("the peer announces a {pdu} PDU of {length} bytes, at most {maximum} are allowed")]
    TooLong {
        /// Name of the PDU.
        pdu: &'static str,
        /// Announced length without the header.
        length: u32,
        /// Allowed length without the header.
        maximum: u32,
    },
    /// A PDU whose content is not as PS3.8 says.
    #[error("the peer sent a {pdu} PDU that cannot be read: {fault}")]
    Malformed {
        /// Name of the PDU.
        pdu: &'static str,
        /// What is wrong in it.
        fault: PduFault,
    },
    /// A PDU of ours cannot be encoded (an AE title over 16 characters, for instance).
    #[error("cannot encode a PDU for the peer: {0}")]
    Encode(Box<WriteError>),
    /// The peer closed the connection between two PDUs.
    #[error("the peer closed the connection without a release or an abort")]
    Closed,
    /// The peer closed the connection inside a PDU.
    #[error("the peer closed the connection in the middle of a {pdu} (after {received} bytes of it)")]
    ClosedMidPdu {
        /// Name of the PDU; `PDU` where its header is not whole.
        pdu: &'static str,
        /// Bytes of the unfinished PDU.
        received: usize,
    },
    /// The deadline passed.
    #[error("the time ran out while {doing}")]
    Timeout {
        /// What was being waited for.
        doing: &'static str,
    },
    /// The connection failed.
    #[error("the connection failed while {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// PDUs over one connection.
#[derive(Debug)]
pub struct PduStream {
    transport: Box<dyn Transport>,
    /// Bytes that arrived and were not yet handed out as PDUs.
    incoming: BytesMut,
    /// The PDU being sent; kept to be used again.
    outgoing: Vec<u8>,
    bytes_received: u64,
    max_incoming: u32,
    max_outgoing: u32,
}

impl PduStream {
    /// Takes over a connection, on either side of it. `max_incoming` is the longest P-DATA-TF that we announce
    /// and accept (bytes without the header; raised to what the codec can do at least).
    pub fn new(transport: impl Transport + 'static, max_incoming: u32) -> Result<PduStream, UpperLayerError> {
        transport.set_up().map_err(|source| UpperLayerError::Io { doing: "setting up the connection", source })?;
        Ok(PduStream {
            transport: Box::new(transport),
            incoming: BytesMut::with_capacity(READ_AHEAD_BYTES),
            outgoing: Vec::new(),
            bytes_received: 0,
            max_incoming: max_incoming.max(SMALLEST_MAX_PDU),
            max_outgoing: SMALLEST_MAX_PDU,
        })
    }

    /// Bytes that came from the peer so far; what a minimum rate is judged by.
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Bytes of a PDU that is not whole yet.
    pub fn unfinished_bytes(&self) -> usize {
        self.incoming.len()
    }

    /// Takes note of the peer's Maximum Length (PS3.8 annex D.1; 0 means no limit). Without it only short PDUs are sent.
    pub fn set_max_outgoing(&mut self, peer_max_pdu: u32) {
        self.max_outgoing = match peer_max_pdu {
            0 => ASSOCIATION_PDU_BYTES,
            limit => limit.clamp(PDV_HEADER_BYTES + 2, ASSOCIATION_PDU_BYTES),
        };
    }

    /// Message bytes that one PDU to this peer can carry; even, as PS3.8 annex E.2 wants of fragments.
    pub fn fragment_bytes(&self) -> usize {
        (self.max_outgoing - PDV_HEADER_BYTES) as usize & !1
    }

    /// The next PDU. After [`UpperLayerError::Timeout`] it may be called again: what had arrived is kept.
    pub async fn receive(&mut self, deadline: Instant) -> Result<Pdu, UpperLayerError> {
        let frame = loop {
            let (wanted, pdu) = match self.incoming.first_chunk::<PDU_HEADER_BYTES>() {
                None => (READ_AHEAD_BYTES, "PDU"),
                Some(header) => {
                    let frame = self.check_header(*header)?;
                    match frame.pdu_bytes.checked_sub(self.incoming.len()) {
                        None | Some(0) => break frame,
                        Some(missing) => (missing.max(READ_AHEAD_BYTES), frame.name),
                    }
                }
            };
            self.incoming.reserve(wanted);
            self.fill(pdu, deadline).await?;
        };
        // Split off without a copy; the buffer's memory is used again once this is dropped.
        let bytes = self.incoming.split_to(frame.pdu_bytes);
        let body = bytes.get(PDU_HEADER_BYTES..).unwrap_or_default();
        read_body(frame.pdu_type, body).map_err(|fault| UpperLayerError::Malformed { pdu: frame.name, fault })
    }

    fn check_header(&self, header: [u8; PDU_HEADER_BYTES]) -> Result<Frame, UpperLayerError> {
        let [pdu_type, _, length @ ..] = header;
        let length = u32::from_be_bytes(length);
        let (name, maximum) = match pdu_type {
            0x01 => ("A-ASSOCIATE-RQ", ASSOCIATION_PDU_BYTES),
            0x02 => ("A-ASSOCIATE-AC", ASSOCIATION_PDU_BYTES),
            0x03 => ("A-ASSOCIATE-RJ", ASSOCIATION_PDU_BYTES),
            0x04 => ("P-DATA-TF", self.max_incoming),
            0x05 => ("A-RELEASE-RQ", ASSOCIATION_PDU_BYTES),
            0x06 => ("A-RELEASE-RP", ASSOCIATION_PDU_BYTES),
            0x07 => ("A-ABORT", ASSOCIATION_PDU_BYTES),
            _ => {
                let first = self.incoming.chunk();
                let shown = first.get(..16).unwrap_or(first);
                let first_bytes = shown.escape_ascii().to_string();
                return Err(UpperLayerError::NotDicom { what: what_else_it_is(first), first_bytes });
            }
        };
        if length > maximum {
            return Err(UpperLayerError::TooLong { pdu: name, length, maximum });
        }
        Ok(Frame { pdu_type, name, pdu_bytes: PDU_HEADER_BYTES + length as usize })
    }

    /// One read from the connection, for a PDU of this name. Cancelling it loses nothing.
    async fn fill(&mut self, pdu: &'static str, deadline: Instant) -> Result<(), UpperLayerError> {
        self.transport.before_read();
        let doing = "waiting for the peer";
        match timeout_at(deadline, self.transport.read_buf(&mut self.incoming)).await {
            Err(_) => Err(UpperLayerError::Timeout { doing }),
            Ok(Err(source)) => Err(UpperLayerError::Io { doing, source }),
            Ok(Ok(0)) if self.incoming.is_empty() => Err(UpperLayerError::Closed),
            Ok(Ok(0)) => Err(UpperLayerError::ClosedMidPdu { pdu, received: self.incoming.len() }),
            Ok(Ok(read)) => {
                self.bytes_received += read as u64;
                Ok(())
            }
        }
    }

    /// Sends one PDU. Not to be used for P-DATA-TF with a dataset: [`PduStream::send_pdv`] copies less.
    pub async fn send(&mut self, pdu: &Pdu, deadline: Instant) -> Result<(), UpperLayerError> {
        self.outgoing.clear();
        write_pdu(&mut self.outgoing, pdu).map_err(|e| UpperLayerError::Encode(Box::new(e)))?;
        self.write_out(deadline).await
    }

    /// Sends one P-DATA-TF with one PDV: a fragment of a command or of a dataset, at most
    /// [`PduStream::fragment_bytes`] long. The fragment is copied once, behind its header.
    pub async fn send_pdv(
        &mut self,
        context_id: u8,
        kind: PDataValueType,
        is_last: bool,
        fragment: &[u8],
        deadline: Instant,
    ) -> Result<(), UpperLayerError> {
        let pdv_bytes = PDV_HEADER_BYTES as usize + fragment.len();
        let pdu_length = match u32::try_from(pdv_bytes) {
            Ok(length) if length <= self.max_outgoing => length,
            _ => {
                return Err(UpperLayerError::TooLong {
                    pdu: "P-DATA-TF",
                    length: u32::try_from(pdv_bytes).unwrap_or(u32::MAX),
                    maximum: self.max_outgoing,
                });
            }
        };
        // Message control header, PS3.8 annex E.2: bit 0 command, bit 1 last fragment.
        let control = u8::from(kind == PDataValueType::Command) | (u8::from(is_last) << 1);
        self.outgoing.clear();
        self.outgoing.extend_from_slice(&[0x04, 0x00]);
        self.outgoing.extend_from_slice(&pdu_length.to_be_bytes());
        self.outgoing.extend_from_slice(&(pdu_length - 4).to_be_bytes());
        self.outgoing.extend_from_slice(&[context_id, control]);
        self.outgoing.extend_from_slice(fragment);
        self.write_out(deadline).await
    }

    /// Sends a whole command set, in as many PDUs as the peer's Maximum Length asks for.
    pub async fn send_command(
        &mut self,
        context_id: u8,
        command: &[u8],
        deadline: Instant,
    ) -> Result<(), UpperLayerError> {
        let mut fragments = command.chunks(self.fragment_bytes()).peekable();
        while let Some(fragment) = fragments.next() {
            let is_last = fragments.peek().is_none();
            self.send_pdv(context_id, PDataValueType::Command, is_last, fragment, deadline).await?;
        }
        Ok(())
    }

    async fn write_out(&mut self, deadline: Instant) -> Result<(), UpperLayerError> {
        let doing = "sending to the peer";
        match timeout_at(deadline, self.transport.write_all(&self.outgoing)).await {
            Err(_) => Err(UpperLayerError::Timeout { doing }),
            Ok(Err(source)) => Err(UpperLayerError::Io { doing, source }),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Sends an A-ABORT and closes. Nothing is reported: there is nobody left to whom it would matter.
    pub async fn abort(mut self, source: AbortRQSource) {
        let deadline = Instant::now() + CLOSE_LINGER;
        if self.send(&Pdu::AbortRQ { source }, deadline).await.is_ok() {
            self.close().await;
        }
    }

    /// Closes after the last PDU was sent: waits a moment for the peer to close, because closing with unread
    /// bytes resets the connection and takes our last PDU with it.
    pub async fn close(mut self) {
        let deadline = Instant::now() + CLOSE_LINGER;
        if !matches!(timeout_at(deadline, self.transport.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        loop {
            self.incoming.clear();
            self.incoming.reserve(READ_AHEAD_BYTES);
            match timeout_at(deadline, self.transport.read_buf(&mut self.incoming)).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => return,
            }
        }
    }
}

struct Frame {
    pdu_type: u8,
    name: &'static str,
    pdu_bytes: usize,
}

fn what_else_it_is(first: &[u8]) -> &'static str {
    const HTTP: [&[u8]; 7] = [b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI", b"CONN", b"PRI "];
    if HTTP.iter().any(|method| first.starts_with(method)) {
        "it looks like an HTTP request; DICOMweb is not served here"
    } else if first.starts_with(&[0x16, 0x03]) {
        "it looks like a TLS handshake; this port speaks DICOM without TLS"
    } else if first.starts_with(b"SSH-") {
        "it looks like an SSH client"
    } else {
        "unknown PDU type"
    }
}

/// A PDU as it goes out, without type, reserved byte and length: what a document quotes of it.
pub fn body_of(pdu: &Pdu) -> Result<Vec<u8>, UpperLayerError> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).map_err(|e| UpperLayerError::Encode(Box::new(e)))?;
    Ok(bytes.split_off(bytes.len().min(PDU_HEADER_BYTES)))
}

/// The user information that we send in A-ASSOCIATE-RQ and -AC: Maximum Length and who we are (PS3.7 annex D.3.3).
pub fn our_user_information(max_incoming: u32) -> Vec<UserVariableItem> {
    vec![
        UserVariableItem::MaxLength(max_incoming.max(SMALLEST_MAX_PDU)),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
    ]
}

/// The peer's Maximum Length (0: no limit), for [`PduStream::set_max_outgoing`].
pub fn peer_max_pdu(user_information: &[UserVariableItem]) -> u32 {
    user_information
        .iter()
        .find_map(|item| if let UserVariableItem::MaxLength(n) = item { Some(*n) } else { None })
        .unwrap_or(0)
}

/// Implementation Class UID and Implementation Version Name of the peer, for the log.
pub fn peer_implementation(user_information: &[UserVariableItem]) -> String {
    let mut words = Vec::new();
    for item in user_information {
        match item {
            UserVariableItem::ImplementationVersionName(text) | UserVariableItem::ImplementationClassUID(text) => {
                words.push(peer_text::shown(text.trim_end_matches(['\0', ' '])));
            }
            _ => {}
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    /// A stream of ours and the raw socket of the peer.
    async fn pair() -> (PduStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        (PduStream::new(ours, 16_384).unwrap(), peer)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_length_of_4_gib_is_refused_before_anything_is_allocated() {
        for pdu_type in [0x01, 0x04, 0x07] {
            let (mut stream, mut peer) = pair().await;
            peer.write_all(&[pdu_type, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00]).await.unwrap();
            let error = stream.receive(soon()).await.unwrap_err();
            assert!(matches!(error, UpperLayerError::TooLong { length: u32::MAX, .. }), "{error}");
            assert!(stream.incoming.capacity() <= 2 * READ_AHEAD_BYTES, "{}", stream.incoming.capacity());
        }
    }

    #[tokio::test]
    async fn an_http_request_is_named() {
        let (mut stream, mut peer) = pair().await;
        peer.write_all(b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n").await.unwrap();
        let error = stream.receive(soon()).await.unwrap_err();
        assert!(error.to_string().contains("HTTP request"), "{error}");
        assert!(error.to_string().contains("GET / HTTP/1.1"), "{error}");
    }

    #[tokio::test]
    async fn a_timeout_in_the_middle_of_a_pdu_loses_nothing() {
        let (mut stream, mut peer) = pair().await;
        let release = [0x05, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00];
        peer.write_all(&release[..7]).await.unwrap();
        let short = Instant::now() + Duration::from_millis(20);
        assert!(matches!(stream.receive(short).await, Err(UpperLayerError::Timeout { .. })));
        peer.write_all(&release[7..]).await.unwrap();
        assert_eq!(stream.receive(soon()).await.unwrap(), Pdu::ReleaseRQ);
        assert_eq!(stream.bytes_received(), 10);
    }

    #[tokio::test]
    async fn many_pdus_in_one_segment_come_out_one_by_one() {
        let (mut stream, mut peer) = pair().await;
        let release = [0x05, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00];
        peer.write_all(&release.repeat(50)).await.unwrap();
        drop(peer);
        for _ in 0..50 {
            assert_eq!(stream.receive(soon()).await.unwrap(), Pdu::ReleaseRQ);
        }
        assert!(matches!(stream.receive(soon()).await, Err(UpperLayerError::Closed)));
    }

    /// DCMTK's way of writing: header and body apart, with Nagle's algorithm on. With delayed acknowledgements each
    /// of these rounds takes 40 ms; 100 of them take 4 s.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_header_that_is_sent_alone_stalls_nothing() {
        const ROUNDS: usize = 100;
        let (mut stream, mut peer) = pair().await;
        peer.set_nodelay(false).unwrap();
        let answering = tokio::spawn(async move {
            for _ in 0..ROUNDS {
                assert_eq!(stream.receive(soon()).await.unwrap(), Pdu::ReleaseRQ);
                stream.send(&Pdu::ReleaseRP, soon()).await.unwrap();
            }
        });
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            peer.write_all(&[0x05, 0x00, 0x00, 0x00, 0x00, 0x04]).await.unwrap();
            peer.write_all(&[0x00; 4]).await.unwrap();
            peer.read_exact(&mut [0; 10]).await.unwrap();
        }
        answering.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_pdv_goes_out_as_ps3_8_wants_it() {
        let (mut stream, mut peer) = pair().await;
        stream.set_max_outgoing(0);
        stream.send_pdv(3, PDataValueType::Data, true, b"abcd", soon()).await.unwrap();
        let mut bytes = [0; 16];
        peer.read_exact(&mut bytes).await.unwrap();
        let expected = [
            0x04, 0x00, // P-DATA-TF, reserved
            0x00, 0x00, 0x00, 0x0A, // PDU length 10
            0x00, 0x00, 0x00, 0x06, // item length 6
            0x03, // context id
            0x02, // message control header: dataset, last
            b'a', b'b', b'c', b'd',
        ];
        assert_eq!(bytes, expected);
    }

    #[tokio::test]
    async fn a_command_is_cut_to_the_peers_maximum_length() {
        let (mut stream, peer) = pair().await;
        stream.set_max_outgoing(16);
        stream.send_command(1, &[7; 25], soon()).await.unwrap();
        let mut other = PduStream::new(peer, 16_384).unwrap();
        let mut lengths = Vec::new();
        for _ in 0..3 {
            let Pdu::PData { data } = other.receive(soon()).await.unwrap() else { panic!("no P-DATA-TF") };
            lengths.push((data[0].data.len(), data[0].is_last));
        }
        assert_eq!(lengths, [(10, false), (10, false), (5, true)]);
    }

    #[tokio::test]
    async fn a_fragment_over_the_peers_maximum_length_is_refused() {
        let (mut stream, _peer) = pair().await;
        stream.set_max_outgoing(1024);
        let sent = stream.send_pdv(1, PDataValueType::Data, true, &[0; 1019], soon()).await;
        assert!(matches!(sent, Err(UpperLayerError::TooLong { length: 1025, maximum: 1024, .. })));
    }
}
