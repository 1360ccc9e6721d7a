//! Network interfaces and what can be configured, with defaults and, for an installation, its own values.

use super::Subject;
use super::markdown::Document;
use crate::config::{Config, Destination, Receive, Spool};
use crate::deliver::association::RELEASE_TIMEOUT;
use crate::deliver::outbox::MAX_PAUSE;
use crate::deliver::scu::MIN_BYTES_PER_S;
use crate::dicom::dimse::MAX_COMMAND_BYTES;
use crate::dicom::identifying::MAX_PREFIX_BYTES;
use crate::dicom::upper_layer::{ASSOCIATION_PDU_BYTES, CLOSE_LINGER};
use crate::receive::{GRACE, MAX_TURNED_AWAY, TURNED_AWAY_TIMEOUT};

pub(super) fn add(document: &mut Document, subject: &Subject<'_>) {
    document.heading("4.3", "Network interfaces");
    document.heading("4.3.1", "Physical network interface");
    document.paragraph("TCP/IP over whatever interface the operating system offers.");
    document.heading("4.3.2", "Additional protocols");
    document.paragraph("Destinations may be given by host name, which the operating system resolves. No others.");
    document.heading("4.3.3", "IPv4 and IPv6");
    document.paragraph(
        "Both. `receive.listen` is an address and port of either; `[::]:11112` listens on both where the system allows \
         it. The addresses of a destination are tried in the order in which the system gives them.",
    );
    document.heading("4.4", "Configuration");
    addresses(document, subject);
    parameters(document, subject);
}

fn addresses(document: &mut Document, subject: &Subject<'_>) {
    document.heading("4.4.1", "AE title and presentation address mapping");
    document.heading("4.4.1.1", "Local AE titles");
    let config = subject.site.config;
    let title = if config.receive.ae_title.is_empty() { NO_DEFAULT } else { &config.receive.ae_title };
    let row = |ae: &str, port: String| [ae.to_owned(), title.to_owned(), port];
    let rows = [row("RECEIVE", config.receive.listen.to_string()), row("DELIVER", "any".to_owned())];
    document.table("Local AE titles", &["AE", "AE title", "Address and port"], rows);
    document.heading("4.4.1.2", "Remote AE titles");
    document.paragraph(
        "Senders: any, or those of `receive.allowed_calling_ae_titles` and `receive.allowed_addresses`. Destinations: \
         one table `[destination.NAME]` each, with `ae_title`, `host` and `port`.",
    );
    if subject.site.is_configured {
        let rows: Vec<_> = config
            .destinations
            .iter()
            .map(|(name, d)| [name.clone(), d.ae_title.clone(), d.host.clone(), d.port.to_string()])
            .collect();
        if rows.is_empty() {
            document.paragraph("This installation has no destinations.");
        } else {
            document.table("Destinations", &["Name", "AE title", "Host", "Port"], rows);
        }
    }
}

/// Stands for a value that must be given.
const NO_DEFAULT: &str = "(no default)";

/// A parameter: what it is, its key, its value.
type Parameter = (&'static str, String, String);

fn parameters(document: &mut Document, subject: &Subject<'_>) {
    document.heading("4.4.2", "Parameters");
    let config = subject.site.config;
    let site = |config: &Config| receiving(&config.receive, &config.spool, config.observe.drain_s);
    let defaults = receiving(&Receive::default(), &Spool::default(), crate::config::Observe::default().drain_s);
    let own = subject.site.is_configured.then(|| site(config));
    table(document, "Parameters of RECEIVE", defaults, own);
    table(document, "Parameters of each destination of DELIVER", delivering("NAME", &Destination::default()), None);
    if subject.site.is_configured {
        for (name, destination) in &config.destinations {
            let defaults = delivering(name, &Destination::default());
            table(document, &format!("Destination {name}"), defaults, Some(delivering(name, destination)));
        }
    }
    let seconds = |duration: std::time::Duration| format!("{} s", duration.as_secs());
    let fixed = [
        ("Longest association PDU read, longest P-DATA-TF sent", format!("{ASSOCIATION_PDU_BYTES} bytes")),
        ("Longest command set", format!("{MAX_COMMAND_BYTES} bytes")),
        ("Series Instance UID must come within", format!("{MAX_PREFIX_BYTES} bytes of the data set")),
        ("Time before `receive.min_bytes_per_s` is judged", seconds(GRACE)),
        ("Wait for the peer to close after A-ASSOCIATE-RJ, A-RELEASE-RP, A-ABORT (ARTIM)", seconds(CLOSE_LINGER)),
        ("Connections that may wait for a transient reject", MAX_TURNED_AWAY.to_string()),
        ("Wait for their A-ASSOCIATE-RQ, at most", seconds(TURNED_AWAY_TIMEOUT)),
        ("Wait for an A-RELEASE-RP, at most", seconds(RELEASE_TIMEOUT)),
        (
            "Slowest average rate at which a destination must take an object",
            format!("{MIN_BYTES_PER_S} bytes per second"),
        ),
        ("Longest pause of a destination before another study is tried", seconds(MAX_PAUSE)),
    ];
    document.table("Fixed limits", &["What", "Value"], fixed.map(|(what, value)| [what.to_owned(), value]));
}

fn table(document: &mut Document, caption: &str, defaults: Vec<Parameter>, own: Option<Vec<Parameter>>) {
    let mut headers = vec!["Parameter", "Key", "Default"];
    headers.extend(own.as_ref().map(|_| "This installation"));
    let mut own = own.unwrap_or_default().into_iter();
    let rows: Vec<Vec<String>> = defaults
        .into_iter()
        .map(|(what, key, default)| {
            let mut row = vec![what.to_owned(), format!("`{key}`"), default];
            row.extend(own.next().map(|(_, _, value)| value));
            row
        })
        .collect();
    document.table(caption, &headers, rows);
}

fn receiving(receive: &Receive, spool: &Spool, drain_s: f64) -> Vec<Parameter> {
    let at = |what, key: &str, value: String| (what, format!("receive.{key}"), value);
    let any = |list: Vec<String>| if list.is_empty() { "any".to_owned() } else { list.join(", ") };
    let addresses = receive.allowed_addresses.iter().map(ToString::to_string).collect();
    let called = match receive.called_ae_titles.as_slice() {
        [] => "`receive.ae_title` only".to_owned(),
        titles => titles.join(", "),
    };
    let title = if receive.ae_title.is_empty() { NO_DEFAULT.to_owned() } else { receive.ae_title.clone() };
    vec![
        at("Our AE title", "ae_title", title),
        at("Address and port", "listen", receive.listen.to_string()),
        at("Called AE titles that are answered", "called_ae_titles", called),
        at(
            "Calling AE titles that may associate",
            "allowed_calling_ae_titles",
            any(receive.allowed_calling_ae_titles.clone()),
        ),
        at("Addresses that may connect", "allowed_addresses", any(addresses)),
        at("Storage SOP classes", "sop_classes", format!("{} classes", receive.sop_classes.len())),
        at("Associations at once", "max_associations", receive.max_associations.to_string()),
        at(
            "Associations at once from one address",
            "max_associations_per_peer",
            receive.max_associations_per_peer.to_string(),
        ),
        at("Maximum Length Received, bytes", "max_pdu_bytes", receive.max_pdu_bytes.to_string()),
        at("Largest object, MiB", "max_object_mib", receive.max_object_mib.to_string()),
        at(
            "Wait for the A-ASSOCIATE-RQ, s",
            "association_request_timeout_s",
            receive.association_request_timeout_s.to_string(),
        ),
        at("Silence between two messages, s", "idle_timeout_s", receive.idle_timeout_s.to_string()),
        at("One message with its data set, s", "object_timeout_s", receive.object_timeout_s.to_string()),
        at("One association, s", "association_timeout_s", receive.association_timeout_s.to_string()),
        at("Slowest average rate of a message, bytes/s", "min_bytes_per_s", receive.min_bytes_per_s.to_string()),
        (
            "Free space below which associations are rejected, MiB",
            "spool.min_free_mib".to_owned(),
            spool.steps().min_mib.to_string(),
        ),
        (
            "Free space below which objects are refused, MiB",
            "spool.reserve_free_mib".to_owned(),
            spool.steps().reserve_mib.to_string(),
        ),
        ("Time for associations to end at a stop, s", "observe.drain_s".to_owned(), drain_s.to_string()),
    ]
}

fn delivering(name: &str, destination: &Destination) -> Vec<Parameter> {
    let at = |what, key: &str, value: String| (what, format!("destination.{name}.{key}"), value);
    let or_none = |text: &str| if text.is_empty() { NO_DEFAULT.to_owned() } else { text.to_owned() };
    let Destination { calling_ae_title, only_from_ae, only_study_description, .. } = destination;
    let objects: Vec<&str> = destination.objects.iter().map(|kind| kind.name()).collect();
    let port = if destination.port == 0 { NO_DEFAULT.to_owned() } else { destination.port.to_string() };
    let from = if only_from_ae.is_empty() { "any".to_owned() } else { only_from_ae.join(", ") };
    vec![
        at("Its AE title", "ae_title", or_none(&destination.ae_title)),
        at("Host name or address", "host", or_none(&destination.host)),
        at("Port", "port", port),
        at(
            "AE title that we call from",
            "calling_ae_title",
            calling_ae_title.clone().unwrap_or("`receive.ae_title`".into()),
        ),
        at("Objects that it gets", "objects", objects.join(", ")),
        at("Only studies that came from", "only_from_ae", from),
        at(
            "Only studies whose description matches",
            "only_study_description",
            only_study_description.clone().unwrap_or("any".into()),
        ),
        at(
            "Results of demonstration models, beyond loopback",
            "allow_untrained",
            destination.allow_untrained.to_string(),
        ),
        at("Wait for any answer, s", "timeout_s", destination.timeout_s.to_string()),
        at("First wait before a retry, s", "retry_s", destination.retry_s.to_string()),
        at("Longest wait before a retry, s", "max_retry_s", destination.max_retry_s.to_string()),
    ]
}
