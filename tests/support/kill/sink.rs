//! A PACS of our own, in memory, written from the standard and not through fcdd: it keeps every object before it
//! acknowledges it, and counts what comes again. It can be in any mood that a PACS may have.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::scripted_peer::{COMMAND_LAST, command, item, p_data, pdu};

/// An object that was kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Of the dataset that came first.
    pub dataset_sha256: [u8; 32],
    /// How often it came with these bytes.
    pub times: u64,
    /// How often the same SOP instance came with other bytes.
    pub times_other: u64,
}

/// What a PACS takes to store an object, in any case.
const STORING: Duration = Duration::from_millis(3);

/// What the PACS does with those who call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Everything is taken.
    Good,
    /// A-ASSOCIATE-RJ: result, source, reason.
    Rejects(u8, u8, u8),
    /// The connection is taken, and nothing is said.
    Mute,
    /// After so many bytes of an object it says nothing more, and keeps nothing of it.
    HangsWithin(usize),
    /// After so many bytes of an object it closes the connection.
    ClosesWithin(usize),
    /// Every object is kept, and the first of an association is never acknowledged.
    KeepsAndIsSilent,
    /// Contexts of this SOP class are accepted, no others.
    TakesOnly(&'static str),
    /// Objects of this SOP class are answered with this status, and kept if it is a warning.
    Answers(&'static str, u16),
}

/// A storage SCP on loopback; it goes with the process.
pub struct Sink {
    pub port: u16,
    books: Arc<Books>,
}

struct Books {
    kept: Mutex<BTreeMap<String, Kept>>,
    mood: Mutex<Mood>,
    calls: AtomicU64,
}

impl Sink {
    pub const AE_TITLE: &str = "SINK";

    /// One that takes everything.
    pub fn start() -> Sink {
        Sink::in_mood(Mood::Good)
    }

    pub fn in_mood(mood: Mood) -> Sink {
        Sink::at(0, mood)
    }

    /// On this port; 0: on one that is free.
    pub fn at(port: u16, mood: Mood) -> Sink {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let books = Books { kept: Mutex::default(), mood: Mutex::new(mood), calls: AtomicU64::new(0) };
        let books = Arc::new(books);
        let shared = books.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let books = shared.clone();
                books.calls.fetch_add(1, Ordering::Relaxed);
                // Whoever is killed in the middle of a message leaves an error here, which is as it should be.
                std::thread::spawn(move || serve(socket, &books));
            }
        });
        Sink { port, books }
    }

    /// From the next association on.
    pub fn set_mood(&self, mood: Mood) {
        *self.books.mood.lock().expect("no connection panicked") = mood;
    }

    /// Everything that was kept, by SOP Instance UID.
    pub fn kept(&self) -> BTreeMap<String, Kept> {
        self.books.kept.lock().expect("no connection panicked").clone()
    }

    /// Connections so far.
    pub fn calls(&self) -> u64 {
        self.books.calls.load(Ordering::Relaxed)
    }
}

fn serve(mut socket: TcpStream, books: &Books) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mood = *books.mood.lock().expect("no connection panicked");
    let mut is_first = true;
    let (mut command_set, mut dataset) = (Vec::new(), Vec::new());
    loop {
        let (pdu_type, body) = read_pdu(&mut socket)?;
        match (pdu_type, mood) {
            (_, Mood::Mute) => return wait_until_closed(&mut socket),
            (0x01, Mood::Rejects(result, source, reason)) => {
                return socket.write_all(&pdu(0x03, &[0x00, result, source, reason]));
            }
            (0x01, _) => socket.write_all(&accept(&body, mood))?,
            (0x04, _) => {
                let mut rest = body.as_slice();
                while rest.len() >= 6 {
                    let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                    let (context_id, control, fragment) = (rest[4], rest[5], &rest[6..4 + length]);
                    rest = &rest[4 + length..];
                    let part = if control & 1 == 1 { &mut command_set } else { &mut dataset };
                    part.extend_from_slice(fragment);
                    match mood {
                        Mood::HangsWithin(bytes) if dataset.len() >= bytes => return wait_until_closed(&mut socket),
                        Mood::ClosesWithin(bytes) if dataset.len() >= bytes => return Ok(()),
                        _ => {}
                    }
                    // The last fragment of a dataset ends a C-STORE.
                    if control == 0x02 {
                        std::thread::sleep(STORING);
                        let answer = store(&command_set, &dataset, mood, &books.kept);
                        if std::mem::take(&mut is_first) && mood == Mood::KeepsAndIsSilent {
                            return wait_until_closed(&mut socket);
                        }
                        socket.write_all(&p_data(&[(context_id, COMMAND_LAST, &answer)]))?;
                        command_set.clear();
                        dataset.clear();
                    }
                }
            }
            (0x05, _) => return socket.write_all(&pdu(0x06, &[0; 4])),
            _ => return Ok(()),
        }
    }
}

/// Until the caller has had enough; what it has sent by then is thrown away.
fn wait_until_closed(socket: &mut TcpStream) -> io::Result<()> {
    io::copy(socket, &mut io::sink()).map(drop)
}

fn read_pdu(socket: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 6];
    socket.read_exact(&mut header)?;
    let mut body = vec![0; u32::from_be_bytes([header[2], header[3], header[4], header[5]]) as usize];
    socket.read_exact(&mut body)?;
    Ok((header[0], body))
}

/// An A-ASSOCIATE-AC that accepts contexts with the first transfer syntax offered (PS3.8 section 9.3.3).
fn accept(request: &[u8], mood: Mood) -> Vec<u8> {
    let mut body = request[..68].to_vec();
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (item_type, context) in items(&request[68..]) {
        if item_type == 0x20 {
            let sub_item =
                |wanted| items(&context[4..]).into_iter().find(|(t, _)| *t == wanted).expect("it is there").1;
            let (sop_class, offered) = (sub_item(0x30), sub_item(0x40));
            let takes = !matches!(mood, Mood::TakesOnly(class) if class.as_bytes() != sop_class);
            let result = if takes { 0x00 } else { 0x03 }; // acceptance, abstract syntax not supported
            let mut accepted = vec![context[0], 0x00, result, 0x00]; // context id, reserved, result, reserved
            accepted.extend(item(0x40, offered));
            body.extend(item(0x21, &accepted));
        }
    }
    let mut user_information = item(0x51, &131_072_u32.to_be_bytes());
    user_information.extend(item(0x52, b"1.2.3.4.6"));
    body.extend(item(0x50, &user_information));
    pdu(0x02, &body)
}

fn items(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        found.push((bytes[0], &bytes[4..4 + length]));
        bytes = &bytes[4 + length..];
    }
    found
}

/// Keeps the object, then gives the command set of the C-STORE-RSP (PS3.7 table 9.3-2).
fn store(request: &[u8], dataset: &[u8], mood: Mood, kept: &Mutex<BTreeMap<String, Kept>>) -> Vec<u8> {
    let mut elements = BTreeMap::new();
    let mut rest = request;
    while rest.len() >= 8 {
        let length = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
        elements.insert(u16::from_le_bytes([rest[2], rest[3]]), &rest[8..8 + length]);
        rest = &rest[8 + length..];
    }
    let text = |element| String::from_utf8_lossy(elements[&element]).trim_end_matches('\0').to_owned();
    let status = match mood {
        Mood::Answers(sop_class, status) if text(0x0002) == sop_class => status,
        _ => 0x0000,
    };
    if status == 0x0000 || status >> 12 == 0xB {
        keep(text(0x1000), dataset, kept);
    }
    command(&[
        (0x0002, elements[&0x0002]),
        (0x0100, &[0x01, 0x80]), // C-STORE-RSP
        (0x0120, elements[&0x0110]),
        (0x0800, &[0x01, 0x01]), // no dataset
        (0x0900, &status.to_le_bytes()),
        (0x1000, elements[&0x1000]),
    ])
}

fn keep(sop_instance_uid: String, dataset: &[u8], kept: &Mutex<BTreeMap<String, Kept>>) {
    let dataset_sha256 = Sha256::digest(dataset).into();
    let mut kept = kept.lock().expect("no connection panicked");
    let object = kept.entry(sop_instance_uid).or_insert(Kept { dataset_sha256, times: 0, times_other: 0 });
    if object.dataset_sha256 == dataset_sha256 {
        object.times += 1;
    } else {
        object.times_other += 1;
    }
}
