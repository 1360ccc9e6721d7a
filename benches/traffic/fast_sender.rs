//! A storage SCU that costs as little as one can: every message is encoded before the clock runs, and goes out in one
//! write. It waits for each answer, as every modality does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::mr_slices::Slice;
use crate::scripted_peer::{
    A_RELEASE_RQ, Answer, COMMAND_LAST, DATA_LAST, DATA_MORE, MR_IMAGE_STORAGE, STANDARD_CONTEXTS, associate_rq,
    p_data, store_rq,
};

/// Dataset bytes per PDU: what `receive.max_pdu_bytes` allows by default, less the PDV's header.
const FRAGMENT_BYTES: usize = 131_072 - 6;

/// Sends all slices over `senders` associations at once, each its share; images per second, from the first message to
/// the last answer. Panics when one is not answered 0000H: it would not be safe.
pub fn send_from(senders: usize, address: SocketAddr, slices: &[Slice]) -> f64 {
    let share = |sender| slices.iter().skip(sender).step_by(senders).map(message).collect();
    let mut associations: Vec<(TcpStream, Vec<Vec<u8>>)> =
        (0..senders).map(|sender| (associate(address), share(sender))).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (socket, messages) in &mut associations {
            scope.spawn(move || {
                for message in messages {
                    socket.write_all(message).expect("the daemon takes it");
                    assert_eq!(status(socket), 0, "an object was not stored");
                }
            });
        }
    });
    let took = began.elapsed();
    for (socket, _) in &mut associations {
        socket.write_all(&A_RELEASE_RQ).expect("the daemon takes it");
        assert_eq!(read_pdu(socket).0, 0x06, "no A-RELEASE-RP");
    }
    slices.len() as f64 / took.as_secs_f64()
}

/// A C-STORE-RQ with its dataset, as the bytes of all its PDUs.
fn message(slice: &Slice) -> Vec<u8> {
    let mut bytes = p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, &slice.sop_instance_uid))]);
    let mut fragments = slice.dataset.chunks(FRAGMENT_BYTES).peekable();
    while let Some(fragment) = fragments.next() {
        let control = if fragments.peek().is_none() { DATA_LAST } else { DATA_MORE };
        bytes.extend(p_data(&[(1, control, fragment)]));
    }
    bytes
}

fn associate(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("the daemon listens");
    socket.set_nodelay(true).expect("a connected socket takes options");
    socket.write_all(&associate_rq("FCDD", "BENCH", &STANDARD_CONTEXTS)).expect("the daemon takes it");
    assert_eq!(read_pdu(&mut socket).0, 0x02, "no A-ASSOCIATE-AC");
    socket
}

fn status(socket: &mut TcpStream) -> u16 {
    let (pdu_type, body) = read_pdu(socket);
    Answer::Pdu(pdu_type, body).status().0
}

fn read_pdu(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 6];
    socket.read_exact(&mut header).expect("the daemon answers");
    let mut body = vec![0; u32::from_be_bytes([header[2], header[3], header[4], header[5]]) as usize];
    socket.read_exact(&mut body).expect("the daemon answers");
    (header[0], body)
}
