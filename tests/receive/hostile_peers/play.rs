//! Plays one conversation and notes what came back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::{Ending, Family, Step};
use crate::scripted_peer::{A_RELEASE_RQ, Answer, STANDARD_CONTEXTS, associate_rq};

/// Longest wait for anything that must come: longer than every timer of the daemon.
const PATIENCE: Duration = Duration::from_secs(60);

/// A conversation that is over.
#[derive(Debug)]
pub struct Played {
    pub family: Family,
    /// Its own address.
    pub from: [u8; 4],
    /// What came back on what it sent; without the A-ASSOCIATE-AC before it and the A-RELEASE-RP behind.
    pub answers: Vec<Answer>,
    /// Its release was answered.
    pub released: bool,
}

impl Played {
    /// C-STORE responses with status 0000H.
    pub fn successes(&self) -> usize {
        self.responses().filter(|(field, status)| (*field, *status) == (0x8001, 0x0000)).count()
    }

    /// Command Field and Status of every response.
    pub fn responses(&self) -> impl Iterator<Item = (u16, u16)> {
        self.answers.iter().filter(|answer| matches!(answer, Answer::Pdu(0x04, _))).map(|answer| {
            let field = answer.command_field();
            (field, answer.status().0)
        })
    }
}

/// Plays it from the address 127.x.y.z that belongs to its number.
pub async fn play(receiver: SocketAddr, number: usize, family: Family) -> Played {
    let from = [127, 1 + (number / 62_500) as u8, (number / 250 % 250) as u8, 1 + (number % 250) as u8];
    let name = family.name.clone();
    let playing = play_from(receiver, from, family);
    timeout(PATIENCE, playing).await.unwrap_or_else(|_| panic!("{name}: no end within {PATIENCE:?}"))
}

async fn play_from(receiver: SocketAddr, from: [u8; 4], family: Family) -> Played {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((from, 0))).expect("every address 127.x.x.x is this machine's");
    let mut socket = socket.connect(receiver).await.expect("the daemon listens");
    socket.set_nodelay(true).expect("a connected socket takes options");
    if family.associates {
        let _ = socket.write_all(&associate_rq("FCDD", "HOSTILE", &STANDARD_CONTEXTS)).await;
        let answer = read_pdu(&mut socket).await;
        assert!(matches!(answer, Answer::Pdu(0x02, _)), "{}: no A-ASSOCIATE-AC: {answer:?}", family.name);
    }
    for step in &family.steps {
        send(&mut socket, step).await;
    }
    let mut played = Played { from, answers: Vec::new(), released: false, family };
    match played.family.ending {
        Ending::Closes => drop(socket),
        Ending::Resets => {
            socket.set_zero_linger().expect("a connected socket takes options");
            drop(socket);
        }
        Ending::HalfCloses => {
            let _ = socket.shutdown().await;
            loop {
                match read_pdu(&mut socket).await {
                    Answer::Closed => break,
                    answer => played.answers.push(answer),
                }
            }
        }
        Ending::Releases => {
            let _ = socket.write_all(&A_RELEASE_RQ).await;
            listen(&mut socket, &mut played).await;
        }
        Ending::Listens => listen(&mut socket, &mut played).await,
    }
    played
}

async fn send(socket: &mut TcpStream, step: &Step) {
    match step {
        // Where the receiver has hung up already the rest is lost, as with a real peer.
        Step::Send(bytes) => {
            let _ = socket.write_all(bytes).await;
        }
        Step::Trickle { bytes, piece, every } => {
            let (mut reader, mut writer) = socket.split();
            let trickling = async {
                for piece in bytes.chunks(*piece) {
                    if writer.write_all(piece).await.is_err() {
                        return;
                    }
                    sleep(*every).await;
                }
            };
            // Something to read means that the receiver has had enough.
            let mut something = [0; 1];
            tokio::select! {
                () = trickling => {}
                _ = reader.peek(&mut something) => {}
            }
        }
    }
}

/// Reads until the receiver has said its last word; after an answer that leaves the association alive, releases.
async fn listen(socket: &mut TcpStream, played: &mut Played) {
    loop {
        match read_pdu(socket).await {
            Answer::Closed => return,
            Answer::Pdu(0x06, _) => {
                played.released = true;
                return;
            }
            answer => {
                let is_last = matches!(answer, Answer::Pdu(0x03 | 0x07, _));
                played.answers.push(answer);
                if is_last {
                    return;
                }
                if played.family.ending == Ending::Listens && played.answers.len() == played.family.answers {
                    let _ = socket.write_all(&A_RELEASE_RQ).await;
                }
            }
        }
    }
}

async fn read_pdu(socket: &mut TcpStream) -> Answer {
    let mut header = [0; 6];
    if socket.read_exact(&mut header).await.is_err() {
        return Answer::Closed;
    }
    let mut body = vec![0; u32::from_be_bytes([header[2], header[3], header[4], header[5]]) as usize];
    match socket.read_exact(&mut body).await {
        Ok(_) => Answer::Pdu(header[0], body),
        Err(_) => Answer::Closed,
    }
}
