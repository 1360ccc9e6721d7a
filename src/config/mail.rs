//! `[mail]`: the server that takes mail of the research side, and who gets it. Without this table nothing is ever sent.

use std::net::IpAddr;
use std::path::PathBuf;

use lettre::message::Mailbox;
use serde::Deserialize;

use super::validate::Check;

/// How mail leaves this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// Host name of the SMTP server; with TLS its certificate must be for this name.
    pub host: String,
    /// Port; without it the one that belongs to `security`.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub security: Security,
    /// User name, where the server wants one.
    pub user: Option<String>,
    /// The file whose first line is the password; only its owner may read it.
    pub password_file: Option<PathBuf>,
    /// The sender's address, `name@host` or `Name <name@host>`.
    pub from: String,
    /// The recipients' addresses.
    pub to: Vec<String>,
    /// Whether `report.html` goes along. It names subjects by their pseudonyms and shows slices of them.
    pub attach_report: bool,
    /// Seconds to wait for the connection and for any answer.
    pub timeout_s: u64,
}

/// Protection of the connection to the mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS after the server's greeting (RFC 3207); a server that does not offer it gets nothing.
    #[default]
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// In clear.
    None,
}

impl Default for Mail {
    fn default() -> Self {
        Mail {
            host: String::new(),
            port: None,
            security: Security::StartTls,
            user: None,
            password_file: None,
            from: String::new(),
            to: Vec::new(),
            attach_report: false,
            timeout_s: 30,
        }
    }
}

impl Mail {
    /// The port, said or implied.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.security {
            Security::StartTls => 587,
            Security::Tls => 465,
            Security::None => 25,
        })
    }

    pub(super) fn validate(&self, check: &mut Check<'_, '_>) {
        check.that(!self.host.is_empty(), &["mail", "host"], "must be a host name or an address");
        check.that(self.port != Some(0), &["mail", "port"], "must be a port between 1 and 65535");
        check.that(
            self.user.is_some() == self.password_file.is_some(),
            &["mail", if self.user.is_some() { "user" } else { "password_file" }],
            "must come with the other of user and password_file, or both must be left out",
        );
        check.that(
            self.security != Security::None || self.user.is_none() || is_this_machine(&self.host),
            &["mail", "security"],
            "must be starttls or tls where there is a password: it would cross the network in clear",
        );
        let address = "must be a mail address, such as \"fcdd@example.org\"";
        check.that(self.from.parse::<Mailbox>().is_ok(), &["mail", "from"], address);
        check.that(!self.to.is_empty(), &["mail", "to"], "must name at least one recipient");
        for to in &self.to {
            check.that(
                to.parse::<Mailbox>().is_ok(),
                &["mail", "to"],
                &format!("has {to:?}, which is no mail address"),
            );
        }
        check.wait(self.timeout_s, &["mail", "timeout_s"]);
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
