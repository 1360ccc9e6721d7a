//! Handing a letter to the configured mail server, recipient by recipient.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::response::Category;
use lettre::{Message, SmtpTransport, Transport};

use super::Letter;
use crate::config::Mail;
use crate::config::mail::Security;
use crate::config::private_file::open_to_others;

/// A mail that did not reach everybody.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The password cannot be read.
    #[error("cannot read mail.password_file {path}: {source}; nothing was sent")]
    Password {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Others can read the password.
    #[error(
        "mail.password_file {path} is open to others (mode {mode:o}); nothing was sent: chmod 600 it, and change the \
         password if others may have read it"
    )]
    PasswordOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no password in the file.
    #[error("mail.password_file {path} has an empty first line; nothing was sent")]
    PasswordEmpty {
        /// The file.
        path: PathBuf,
    },
    /// An address or a header cannot be written.
    #[error("the mail cannot be put together: {0}; nothing was sent")]
    Message(String),
    /// The server did not take it for some recipients, or for all.
    #[error("the mail could not be sent by {host}:{port}: {}", unsent.iter().map(Unsent::sentence).collect::<Vec<_>>().join("; "))]
    Unsent {
        /// The server.
        host: String,
        /// Its port.
        port: u16,
        /// Who did not get it.
        unsent: Vec<Unsent>,
    },
}

/// Recipients who did not get a mail, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsent {
    /// As in the configuration.
    pub to: Vec<String>,
    /// What the server or the system said.
    pub why: String,
}

impl Unsent {
    fn sentence(&self) -> String {
        format!("to {}: {}", self.to.join(", "), self.why)
    }
}

impl MailError {
    /// Who of those that it was sent to did not get it.
    pub fn owed(&self, to: &[String]) -> Vec<String> {
        match self {
            MailError::Unsent { unsent, .. } => unsent.iter().flat_map(|unsent| unsent.to.iter().cloned()).collect(),
            _ => to.to_vec(),
        }
    }
}

/// Sends a letter to `to`, which are some or all of the configured recipients. Each gets it in a transaction of its own:
/// an address that the server refuses does not keep it from the others.
///
/// # Errors
/// When the password cannot be used (then nothing was sent), or the server did not take the letter for somebody.
pub fn send(mail: &Mail, letter: &Letter, to: &[String]) -> Result<(), MailError> {
    let unusable = |e: &dyn std::fmt::Display| MailError::Message(e.to_string());
    let message = message(mail, letter)?.formatted();
    let from: Mailbox = mail.from.parse().map_err(|e| unusable(&e))?;
    let transport = transport(mail)?;
    let mut unsent: Vec<Unsent> = Vec::new();
    for (index, recipient) in to.iter().enumerate() {
        let mailbox: Mailbox = recipient.parse().map_err(|e| unusable(&e))?;
        let envelope = Envelope::new(Some(from.email.clone()), vec![mailbox.email]).map_err(|e| unusable(&e))?;
        let Err(error) = transport.send_raw(&envelope, &message) else { continue };
        let why = why(&error, mail);
        if error.status().is_some_and(|code| code.category == Category::MailSystem) {
            unsent.push(Unsent { to: vec![recipient.clone()], why });
        } else {
            // Not about this recipient (no server, no TLS, a wrong password): the others would get the same answer.
            unsent.push(Unsent { to: to.get(index..).unwrap_or_default().to_vec(), why });
            break;
        }
    }
    if unsent.is_empty() {
        return Ok(());
    }
    Err(MailError::Unsent { host: mail.host.clone(), port: mail.port(), unsent })
}

/// What stood in the way, in the server's or the system's own words.
fn why(error: &smtp::Error, mail: &Mail) -> String {
    let said = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if let Some(code) = error.status() {
        return format!("the server said {code} {said}");
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock].contains(&io.kind())
        {
            return format!("no answer within {} s", mail.timeout_s);
        }
        source = cause.source();
    }
    said
}

fn message(mail: &Mail, letter: &Letter) -> Result<Message, MailError> {
    let unusable = |e: &dyn std::fmt::Display| MailError::Message(e.to_string());
    let mut builder = Message::builder()
        .from(mail.from.parse().map_err(|e| unusable(&e))?)
        .subject(letter.subject.clone())
        .message_id(None)
        .header(AutoSubmitted);
    for to in &mail.to {
        builder = builder.to(to.parse().map_err(|e| unusable(&e))?);
    }
    let text = SinglePart::plain(letter.text.clone());
    if letter.attachments.is_empty() {
        return builder.singlepart(text).map_err(|e| unusable(&e));
    }
    let mut parts = MultiPart::mixed().singlepart(text);
    for (name, bytes) in &letter.attachments {
        parts = parts.singlepart(Attachment::new(name.clone()).body(bytes.clone(), ContentType::TEXT_HTML));
    }
    builder.multipart(parts).map_err(|e| unusable(&e))
}

fn transport(mail: &Mail) -> Result<SmtpTransport, MailError> {
    let tls = || TlsParameters::new(mail.host.clone()).map_err(|e| MailError::Message(why(&e, mail)));
    let tls = match mail.security {
        Security::StartTls => Tls::Required(tls()?),
        Security::Tls => Tls::Wrapper(tls()?),
        Security::None => Tls::None,
    };
    let mut transport = SmtpTransport::builder_dangerous(mail.host.clone())
        .port(mail.port())
        .tls(tls)
        .timeout(Some(Duration::from_secs(mail.timeout_s)));
    if let (Some(user), Some(file)) = (&mail.user, &mail.password_file) {
        transport = transport.credentials(Credentials::new(user.clone(), password(file)?));
    }
    Ok(transport.build())
}

/// The first line of the password file.
fn password(path: &Path) -> Result<String, MailError> {
    let unreadable = |source| MailError::Password { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    if let Some(mode) = open_to_others(&file.metadata().map_err(unreadable)?) {
        return Err(MailError::PasswordOpen { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(MailError::PasswordEmpty { path: path.to_owned() }),
    }
}

/// RFC 3834: a machine wrote this, so that no machine answers.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
