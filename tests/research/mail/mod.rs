//! A real SMTP server (Python's aiosmtpd) and a configuration that mails to it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fcdd::research::run::folder::RunFolder;
use fcdd::research::run::plan::{Plan, Profile, Said};
use fcdd::study::Sequence;
use serde::Deserialize;

use crate::support;

/// Longer than anything here takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Deserialize)]
pub struct Mail {
    /// MAIL FROM, RCPT TO.
    pub envelope: (String, Vec<String>),
    pub headers: BTreeMap<String, String>,
    pub text: String,
    pub attachments: BTreeMap<String, String>,
    pub encrypted: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    Heard(String),
    Mail(Box<Mail>),
    Closed(()),
}

pub struct Server {
    pub port: u16,
    events: Arc<Mutex<Vec<Event>>>,
    child: Child,
    _stdin: Option<ChildStdin>,
}

impl Server {
    /// `None` after a skip.
    pub fn start(mode: &str, certificate: Option<&Certificate>) -> Option<Server> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/research/mail/smtp_peer.py");
        let mut command = Command::new(support::python()?);
        command.arg(script).arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(certificate) = certificate {
            command.args([&certificate.certificate, &certificate.key]);
        }
        let mut child = command.spawn().expect("Python starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the server says where it listens").unwrap();
        let port = first.strip_prefix("listening ").expect(&first).parse().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push(serde_json::from_str(&line).expect(&line));
            }
        });
        Some(Server { port, events, _stdin: child.stdin.take(), child })
    }

    /// Everything up to the end of the `connections`th connection.
    pub fn after(&self, connections: usize) -> Vec<Event> {
        support::wait_until("the connections are closed", SOON, || {
            let events = self.events.lock().unwrap().clone();
            let closed = events.iter().filter(|event| matches!(event, Event::Closed(()))).count();
            (closed >= connections).then_some(events)
        })
    }

    /// The mails that came in `connections` connections.
    pub fn mails(&self, connections: usize) -> Vec<Mail> {
        mails(self.after(connections))
    }

    /// The mails, as soon as there are so many.
    pub fn until_mails(&self, count: usize) -> Vec<Mail> {
        support::wait_until("the mails come", SOON, || {
            Some(mails(self.events.lock().unwrap().clone())).filter(|mails| mails.len() >= count)
        })
    }
}

fn mails(events: Vec<Event>) -> Vec<Mail> {
    let mail = |event| if let Event::Mail(mail) = event { Some(*mail) } else { None };
    events.into_iter().filter_map(mail).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for `localhost`, made for this test.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// `None` after a skip.
    pub fn new(folder: &Path) -> Option<Certificate> {
        let openssl = support::require_peer("openssl")?;
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let request = folder.join("request.cnf");
        std::fs::write(
            &request,
            "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = extensions\n[name]\nCN = localhost\n\
             [extensions]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:localhost\n",
        )
        .unwrap();
        let made = Command::new(openssl)
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config"])
            .arg(&request)
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Certificate { certificate, key })
    }
}

/// Writes a configuration with these further tables.
pub fn configure(folder: &Path, tables: &str) -> PathBuf {
    let path = folder.join("fcdd.toml");
    let text =
        "version = 1\n[receive]\nae_title = 'FCDD'\n[spool]\ndirectory = 'spool'\n[analyze]\nmodels = ['model']\n";
    std::fs::write(&path, format!("{text}{tables}")).unwrap();
    path
}

/// `[mail]` for a server on this machine, to ann@example.org and whom `more` adds as further fields.
pub fn to_server(port: u16, security: &str, to: &str, more: &str) -> String {
    format!(
        "[mail]\nhost = 'localhost'\nport = {port}\nsecurity = '{security}'\nfrom = 'fcdd <fcdd@example.org>'\nto = {to}\n\
         timeout_s = 20\n{more}"
    )
}

/// A run of FLAIR with both folds done and a report.
pub fn finished_run(folder: &Path, archive: &str, synthetic: bool) -> RunFolder {
    let run = RunFolder::new(folder);
    let said = Said { folds: Some(2), ..Said::default() };
    run.begin(&Plan::new(Profile::Default, Sequence::Flair, archive.to_owned(), None, 1, &said)).unwrap();
    for fold in [run.fold(0), run.fold(1)] {
        std::fs::create_dir_all(fold.path()).unwrap();
        std::fs::write(fold.predictions_path(), "").unwrap();
        std::fs::write(fold.checkpoint_best(), "").unwrap();
    }
    let metrics = format!("{{\"synthetic\": {synthetic}, \"confounds\": {{\"passed\": true, \"checks\": []}}}}");
    std::fs::write(folder.join("metrics.json"), metrics).unwrap();
    std::fs::write(
        folder.join("report.md"),
        "# Cross-validation\n| AUC | 0.71 ± 0.02 |\n| sub-AB12CD | FCD | 0.93 |\n",
    )
    .unwrap();
    std::fs::write(folder.join("report.html"), "<!DOCTYPE html><p>sub-AB12CD: 0.93 ✓</p>\n").unwrap();
    run
}

pub fn fcdd(arguments: &[&str], environment: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fcdd"));
    command.args(arguments).envs(environment.iter().copied()).output().expect("fcdd starts")
}
