//! DCMTK's command-line clients: the senders that hospitals' scanners and PACS resemble most.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::prerequisites::require_peer;

/// What a client said.
#[derive(Debug)]
pub struct Sent {
    /// Whether it ended with exit status 0.
    pub success: bool,
    /// Its log (stdout and stderr).
    pub log: String,
}

/// C-STOREs files and folders (recursively) to an application entity on loopback; `None` after a skip.
pub fn storescu(paths: &[&Path], called_ae: &str, port: u16) -> Option<Sent> {
    storescu_as("STORESCU", paths, called_ae, port)
}

/// The same, with a calling AE title.
pub fn storescu_as(calling_ae: &str, paths: &[&Path], called_ae: &str, port: u16) -> Option<Sent> {
    let mut command = client("storescu")?;
    // +sd +r: folders, recursively. -R: propose only what the files need. -xs is never needed: files go as they are.
    command.args(["-v", "+sd", "+r", "-R", "-aet", calling_ae, "-aec", called_ae, "127.0.0.1", &port.to_string()]);
    command.args(paths);
    Some(run(command))
}

/// C-ECHO to an application entity on loopback; `None` after a skip.
pub fn echoscu(called_ae: &str, port: u16) -> Option<Sent> {
    let mut command = client("echoscu")?;
    command.args(["-v", "-aec", called_ae, "127.0.0.1", &port.to_string()]);
    Some(run(command))
}

/// C-FIND at series or image level in the study root model: each answer as tag (`0008,0060`) to value; `None` after a
/// skip. `keys` are DCMTK's (`StudyInstanceUID=1.2.3`; without a value: asked for).
pub fn findscu(level: &str, keys: &[&str], called_ae: &str, port: u16) -> Option<Vec<BTreeMap<String, String>>> {
    let mut command = client("findscu")?;
    command.args(["-v", "-S", "-aec", called_ae, "-k", &format!("QueryRetrieveLevel={level}")]);
    for key in keys {
        command.args(["-k", key]);
    }
    command.args(["127.0.0.1", &port.to_string()]);
    let found = run(command);
    assert!(found.success, "findscu failed:\n{}", found.log);
    Some(parse_find_responses(&found.log))
}

/// A line is `I: (0008,0060) CS [SR ]    # 2, 1 Modality`; each response begins with `Find Response: 1 (Pending)`.
fn parse_find_responses(log: &str) -> Vec<BTreeMap<String, String>> {
    let mut responses = Vec::new();
    for line in log.lines() {
        if line.contains("Find Response: ") {
            responses.push(BTreeMap::new());
        }
        let (Some(response), Some((_, element))) = (responses.last_mut(), line.split_once('(')) else { continue };
        let Some((tag, rest)) = element.split_once(')') else { continue };
        let Some((value, _)) = rest.split_once('[').and_then(|(_, value)| value.split_once(']')) else { continue };
        response.insert(tag.to_owned(), value.trim_matches([' ', '\0']).to_owned());
    }
    responses
}

fn client(name: &str) -> Option<Command> {
    let program: PathBuf = require_peer(name)?;
    let mut command = Command::new(program);
    // DCMTK writes each PDU header alone; without this, delayed ACKs make it crawl on either side.
    command.env("TCP_NODELAY", "1");
    Some(command)
}

fn run(mut command: Command) -> Sent {
    let output = command.output().expect("a DCMTK client can be started");
    let log = [output.stdout, output.stderr].concat();
    Sent { success: output.status.success(), log: String::from_utf8_lossy(&log).into_owned() }
}
