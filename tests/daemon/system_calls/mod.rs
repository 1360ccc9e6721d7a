//! What a process asked of the kernel, read from `strace -f -yy -xx`, and the judge of one question: was everything that
//! makes an object safe done before the object's UID went out to a peer?

use std::collections::BTreeSet;

/// One call, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    /// The file or connection behind the file descriptor that is the first argument; empty where it is none.
    pub path: String,
    /// The arguments that are strings: paths, or the bytes that were written.
    pub strings: Vec<Vec<u8>>,
    /// What it returned: `0`, `-1 EEXIST (File exists)` ...
    pub answer: String,
    /// Line of the trace at which it began, and at which it had ended.
    pub began: usize,
    pub ended: usize,
}

/// The calls that matter here, for `strace -e trace=`.
pub const TRACED: &str =
    "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,fsync,fdatasync,write,writev,sendto,sendmsg";

impl Call {
    fn begin(name: &str, arguments: &str, answer: &str, line: usize) -> Call {
        let (descriptor, rest) = arguments.split_once('<').unwrap_or_default();
        let is_descriptor = !descriptor.is_empty() && descriptor.bytes().all(|b| b.is_ascii_digit());
        let path = if is_descriptor { rest.split_once('>').map_or("", |(path, _)| path) } else { "" };
        Call {
            name: name.to_owned(),
            path: String::from_utf8_lossy(&decoded(path)).into_owned(),
            // Within a string every byte is written in hexadecimal: a quotation mark begins or ends one.
            strings: arguments.split('"').skip(1).step_by(2).map(decoded).collect(),
            answer: answer.to_owned(),
            began: line,
            ended: if answer == UNFINISHED { usize::MAX } else { line },
        }
    }

    fn succeeded(&self) -> bool {
        !self.answer.starts_with('-') && self.answer != UNFINISHED
    }

    fn syncs(&self, path: &str) -> bool {
        ["fsync", "fdatasync"].contains(&self.name.as_str()) && self.succeeded() && self.path == path
    }

    fn writes(&self, path: &str) -> bool {
        self.name.starts_with("write") && self.path == path
    }

    fn path_argument(&self, index: usize) -> &str {
        self.strings.get(index).and_then(|path| std::str::from_utf8(path).ok()).unwrap_or_default()
    }

    fn renames_to(&self, place: &str) -> bool {
        let is_rename = self.name.starts_with("rename") || self.name.starts_with("link");
        is_rename && self.path_argument(1).starts_with(place)
    }

    fn makes_directory(&self, path: &str) -> bool {
        self.name.starts_with("mkdir") && self.succeeded() && self.path_argument(0) == path
    }

    /// A P-DATA-TF that begins with a command which names the UID.
    fn sends_command(&self, uid: &str) -> bool {
        let sends = ["write", "writev", "sendto", "sendmsg"].contains(&self.name.as_str());
        let bytes = self.strings.concat();
        sends
            && (self.path.starts_with("TCP") || self.path.starts_with("socket:"))
            && bytes.first() == Some(&0x04)
            && bytes.get(11) == Some(&0x03)
            && contains_uid(&bytes, uid)
    }
}

/// What a call returned of which the trace has no end (yet).
const UNFINISHED: &str = "?";

/// Reads a trace: a call that was interrupted by other threads' lines is put together again.
pub fn read_trace(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: Vec<(&str, usize)> = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            let Some(place) = unfinished.iter().position(|(p, _)| *p == process) else { continue };
            let (_, index) = unfinished.swap_remove(place);
            calls[index].answer = split_answer(rest).1.to_owned();
            calls[index].ended = number;
        } else if let Some((name, rest)) = rest.split_once('(') {
            let (arguments, answer) = match rest.strip_suffix(" <unfinished ...>") {
                Some(arguments) => {
                    unfinished.push((process, calls.len()));
                    (arguments, UNFINISHED)
                }
                None => split_answer(rest),
            };
            calls.push(Call::begin(name, arguments, answer, number));
        }
    }
    calls
}

/// Whether the trace has the process's own end, which comes after those of its threads. The process stands in a column:
/// short numbers have more than one blank behind them.
pub fn has_exited(trace: &str, process: u32) -> bool {
    let process = process.to_string();
    let is_end = |line: &str| line.split_whitespace().take(3).eq([process.as_str(), "+++", "exited"]);
    trace.lines().rev().any(is_end)
}

/// `arguments) = answer`, with blanks before the equals sign.
fn split_answer(text: &str) -> (&str, &str) {
    let (arguments, answer) = text.rsplit_once("= ").unwrap_or((text, UNFINISHED));
    (arguments.trim_end(), answer.trim())
}

/// `\x2f` → `/`; what is not escaped stays.
fn decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.extend(byte);
        decoded.extend(part.get(2..).unwrap_or_default().bytes());
    }
    decoded
}

/// Whole UIDs only: 1.2.3 is not in 1.2.34, nor in 1.2.3.4.
fn contains_uid(bytes: &[u8], uid: &str) -> bool {
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_digit() || *b == b'.');
    bytes.windows(uid.len()).enumerate().any(|(start, window)| {
        window == uid.as_bytes()
            && !goes_on(start.checked_sub(1).and_then(|before| bytes.get(before)))
            && !goes_on(bytes.get(start + uid.len()))
    })
}

/// An object, and where it must be safe each time that a command with its UID goes out.
#[derive(Debug, Clone)]
pub struct Way {
    pub uid: String,
    /// What its path begins with, per time. (The name in the quarantine ends in a digest.)
    pub places: Vec<String>,
}

/// Sees that the object was safe each time: its bytes synced after the last of them was written, its name given after
/// that, the directory synced after that, where the directory is new its own name too, and only then the command.
/// Where the name was taken already, by what was safe there before, the directory must be synced all the same. Gives the
/// indices of the calls that this depends on; the error is a sentence.
pub fn safe_each_time(calls: &[Call], way: &Way) -> Result<Vec<usize>, String> {
    let Way { uid, places } = way;
    let sendings: Vec<&Call> = calls.iter().filter(|call| call.sends_command(uid)).collect();
    if sendings.len() != places.len() {
        return Err(format!("{uid} went out {} times, not {}", sendings.len(), places.len()));
    }
    let find = |wanted: &dyn Fn(&Call) -> bool, or_else: String| calls.iter().position(wanted).ok_or(or_else);
    let mut needed = Vec::new();
    let mut before = 0;
    for (turn, (sending, place)) in sendings.into_iter().zip(places).enumerate() {
        let in_time = |call: &Call| call.ended < sending.began;
        let named = |call: &Call| call.renames_to(place) && call.began >= before && in_time(call);
        let index = find(&named, format!("{uid} went out before it was {place}"))?;
        let rename = &calls[index];
        let (from, to) = (rename.path_argument(0), rename.path_argument(1));
        let was_there = rename.answer.contains("EEXIST") && places[..turn].contains(place);
        if !rename.succeeded() && !was_there {
            return Err(format!("{from} did not become {to}: {}", rename.answer));
        }
        let written = calls.iter().filter(|call| call.writes(from)).map(|call| call.ended).max();
        let written = written.ok_or(format!("{from} was never written"))?;
        let synced = |call: &Call| call.syncs(from) && call.began > written && call.ended < rename.began;
        needed.extend([index, find(&synced, format!("{from} was not synced before it became {to}"))?]);

        let mut directory = to.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut named_at = rename.ended;
        loop {
            let synced = |call: &Call| call.syncs(directory) && call.began > named_at && in_time(call);
            needed.push(find(&synced, format!("{directory} was not synced before {uid} went out"))?);
            // A directory that was made under the trace is a name in its parent, which must be safe as well.
            let Some(made) = calls.iter().find(|call| call.makes_directory(directory)) else { break };
            named_at = made.ended;
            directory = directory.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        before = sending.began;
    }
    Ok(needed)
}

/// Takes each call that an object's safety depends on out of the trace once, with those that do the same to the same
/// file, and judges what is left. Gives the calls that nobody missed.
pub fn unmissed(calls: &[Call], way: &Way) -> BTreeSet<String> {
    let mut unmissed = BTreeSet::new();
    for index in safe_each_time(calls, way).unwrap_or_default() {
        let lost = &calls[index];
        let is_lost = |call: &Call| call.name == lost.name && call.path == lost.path && call.strings == lost.strings;
        let left: Vec<Call> = calls.iter().filter(|call| !is_lost(call)).cloned().collect();
        if safe_each_time(&left, way).is_ok() {
            unmissed.insert(format!("{} {} {:?}", lost.name, lost.path, lost.path_argument(1)));
        }
    }
    unmissed
}
