//! A scripted storage SCP: it takes apart what it is sent byte by byte, from the standard and not through any library,
//! remembers it, and answers as it is told.

// Each group is a crate of its own that uses only a part of this module.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a peer proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub called: String,
    pub calling: String,
    /// Context id, abstract syntax, transfer syntaxes.
    pub contexts: Vec<(u8, String, Vec<String>)>,
    /// Type and value of the user information's sub-items.
    pub user_information: Vec<(u8, Vec<u8>)>,
}

/// A C-STORE or C-ECHO that was received whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub sop_class: String,
    /// Empty of a C-ECHO.
    pub sop_instance: String,
    /// Of the context that it came on.
    pub transfer_syntax: String,
}

/// How an association request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// Every context is accepted.
    All,
    /// No context is.
    None,
    /// A-ASSOCIATE-RJ: result, source, reason.
    Reject(u8, u8, u8),
}

/// How a message is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A response with this status.
    Status(u16),
    /// The same, to another message than that which was sent.
    ToAnotherMessage,
    /// A-ABORT.
    Abort,
    /// The connection is closed.
    Close,
    /// Nothing at all.
    Silence,
}

/// What the peer was sent.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub requests: Vec<Request>,
    pub messages: Vec<Message>,
    /// Associations that are open now, and the most that were at once.
    pub open: usize,
    pub most_open: usize,
}

type Script = dyn Fn(&Message) -> Reply + Send + Sync;

/// Listens on loopback until the test ends.
pub struct ScriptedScp {
    pub port: u16,
    heard: Arc<Mutex<Heard>>,
}

impl ScriptedScp {
    pub fn start(welcome: Welcome, script: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> ScriptedScp {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (remembered, script) = (heard.clone(), Arc::new(script) as Arc<Script>);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (heard, script) = (remembered.clone(), script.clone());
                std::thread::spawn(move || {
                    Connection { socket, contexts: Vec::new(), heard, script }.serve(welcome);
                });
            }
        });
        ScriptedScp { port, heard }
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }
}

struct Connection {
    socket: TcpStream,
    /// Id, abstract syntax, transfer syntax.
    contexts: Vec<(u8, String, String)>,
    heard: Arc<Mutex<Heard>>,
    script: Arc<Script>,
}

impl Connection {
    fn serve(mut self, welcome: Welcome) {
        self.socket.set_nodelay(true).unwrap();
        let Some((0x01, body)) = self.pdu() else { return };
        let request = Request::read(&body);
        let accepts = match welcome {
            Welcome::Reject(result, source, reason) => {
                self.heard.lock().unwrap().requests.push(request);
                self.send(0x03, &[0x00, result, source, reason]);
                return;
            }
            Welcome::All => true,
            Welcome::None => false,
        };
        // The answer repeats version, AE titles and application context of the request.
        let application_context_end = 68 + 4 + usize::from(u16::from_be_bytes([body[70], body[71]]));
        let mut answer = body[..application_context_end].to_vec();
        for (id, abstract_syntax, transfer_syntaxes) in &request.contexts {
            let transfer_syntax = transfer_syntaxes[0].clone();
            let mut result = vec![*id, 0x00, if accepts { 0x00 } else { 0x03 }, 0x00];
            result.extend(item(0x40, transfer_syntax.as_bytes()));
            answer.extend(item(0x21, &result));
            if accepts {
                self.contexts.push((*id, abstract_syntax.clone(), transfer_syntax));
            }
        }
        let mut user_information = item(0x51, &16_384_u32.to_be_bytes());
        user_information.extend(item(0x52, b"1.2.3.4.5"));
        answer.extend(item(0x50, &user_information));
        {
            let mut heard = self.heard.lock().unwrap();
            heard.requests.push(request);
            heard.open += 1;
            heard.most_open = heard.most_open.max(heard.open);
        }
        self.send(0x02, &answer);
        self.messages();
        self.heard.lock().unwrap().open -= 1;
    }

    /// Until the peer releases, or the script ends it.
    fn messages(&mut self) {
        let (mut command, mut message) = (Vec::new(), None);
        while let Some((pdu_type, body)) = self.pdu() {
            match pdu_type {
                0x04 => {}
                0x05 => {
                    self.send(0x06, &[0; 4]);
                    return;
                }
                _ => return,
            }
            let mut rest = body.as_slice();
            while !rest.is_empty() {
                // Length (4), context id (1), message control header (1), fragment.
                let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let (id, control, fragment) = (rest[4], rest[5], &rest[6..4 + length]);
                let (is_command, is_last) = (control & 1 == 1, control & 2 == 2);
                if is_command {
                    command.extend_from_slice(fragment);
                }
                if is_command && is_last {
                    message = Some(self.message(id, &command));
                }
                let is_echo = message.as_ref().is_some_and(|m| m.sop_instance.is_empty());
                if let (true, true, Some(whole)) = (is_last, is_echo || !is_command, &message) {
                    if !self.reply(id, &command, whole) {
                        return;
                    }
                    (command, message) = (Vec::new(), None);
                }
                rest = &rest[4 + length..];
            }
        }
    }

    fn message(&self, id: u8, command: &[u8]) -> Message {
        let (_, abstract_syntax, transfer_syntax) = self.contexts.iter().find(|c| c.0 == id).expect("a known context");
        let sop_class = text(&value_of(command, 0x0002).expect("a SOP class"));
        assert_eq!(&sop_class, abstract_syntax, "the SOP class is the context's");
        let sop_instance = value_of(command, 0x1000).map(|value| text(&value)).unwrap_or_default();
        Message { sop_class, sop_instance, transfer_syntax: transfer_syntax.clone() }
    }

    /// Whether the association goes on.
    fn reply(&mut self, id: u8, command: &[u8], message: &Message) -> bool {
        self.heard.lock().unwrap().messages.push(message.clone());
        let mut message_id = value_of(command, 0x0110).expect("a message id");
        let status = match (self.script)(message) {
            Reply::Status(status) => status,
            Reply::ToAnotherMessage => {
                message_id[0] ^= 1;
                0x0000
            }
            Reply::Abort => {
                self.send(0x07, &[0; 4]);
                return false;
            }
            Reply::Close => return false,
            Reply::Silence => {
                // Until the peer has had enough.
                while self.pdu().is_some() {}
                return false;
            }
        };
        let mut field = value_of(command, 0x0100).expect("a command field");
        field[1] |= 0x80;
        let mut set = Vec::new();
        for (element, value) in [
            (0x0002_u16, even(&message.sop_class)),
            (0x0100, field),
            (0x0120, message_id),
            (0x0800, vec![0x01, 0x01]),
            (0x0900, status.to_le_bytes().to_vec()),
            (0x1000, even(&message.sop_instance)),
        ] {
            set.extend([0x00, 0x00]);
            set.extend(element.to_le_bytes());
            set.extend((value.len() as u32).to_le_bytes());
            set.extend(value);
        }
        let mut response = vec![0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00];
        response.extend((set.len() as u32).to_le_bytes());
        response.extend(set);
        let mut pdv = (response.len() as u32 + 2).to_be_bytes().to_vec();
        pdv.extend([id, 0x03]);
        pdv.extend(response);
        self.send(0x04, &pdv);
        true
    }

    fn pdu(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 6];
        self.socket.read_exact(&mut header).ok()?;
        let mut body = vec![0; u32::from_be_bytes([header[2], header[3], header[4], header[5]]) as usize];
        self.socket.read_exact(&mut body).ok()?;
        Some((header[0], body))
    }

    fn send(&mut self, pdu_type: u8, body: &[u8]) {
        let pdu = [&[pdu_type, 0x00], (body.len() as u32).to_be_bytes().as_slice(), body].concat();
        // The peer may be gone already.
        let _ = self.socket.write_all(&pdu);
    }
}

impl Request {
    fn read(body: &[u8]) -> Request {
        let mut request = Request {
            called: text(&body[4..20]),
            calling: text(&body[20..36]),
            contexts: Vec::new(),
            user_information: Vec::new(),
        };
        for (item_type, value) in items(&body[68..]) {
            match item_type {
                0x20 => {
                    let syntaxes = items(&value[4..]);
                    let of_type = |wanted| syntaxes.iter().filter(move |(t, _)| *t == wanted).map(|(_, v)| text(v));
                    let abstract_syntax = of_type(0x30).next().expect("an abstract syntax");
                    request.contexts.push((value[0], abstract_syntax, of_type(0x40).collect()));
                }
                0x50 => request.user_information = items(&value),
                _ => {}
            }
        }
        request
    }
}

fn items(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        found.push((bytes[0], bytes[4..4 + length].to_vec()));
        bytes = &bytes[4 + length..];
    }
    found
}

fn item(item_type: u8, value: &[u8]) -> Vec<u8> {
    [&[item_type, 0x00], (value.len() as u16).to_be_bytes().as_slice(), value].concat()
}

/// The value of an element of a command set.
fn value_of(mut command: &[u8], wanted: u16) -> Option<Vec<u8>> {
    while !command.is_empty() {
        let element = u16::from_le_bytes([command[2], command[3]]);
        let length = u32::from_le_bytes([command[4], command[5], command[6], command[7]]) as usize;
        if element == wanted {
            return Some(command[8..8 + length].to_vec());
        }
        command = &command[8 + length..];
    }
    None
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches(['\0', ' ']).to_owned()
}

fn even(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}
