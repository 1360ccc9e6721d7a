//! Every line that the conformance statement has about delivery, against a scripted peer: the presentation contexts
//! that are proposed, and what becomes of an object after each status and each other event.

use std::path::{Path, PathBuf};
use std::process::Command;

use fcdd::config;
use fcdd::dicom::Templates;
use fcdd::ledger::StudyState;
use fcdd::ledger::overview::StoredDelivery;
use fcdd::report::render;
use fcdd::study::Revision;

use crate::bench::{self, Bench, destinations};
use crate::report_fixture::{Acquisition, study, suspected};
use crate::scripted_scp::{self, Reply, Request, ScriptedScp, Welcome};
use crate::statement::{Row, Statement};

const RESULTS: &str = "Presentation contexts proposed for results";

/// SOP class and transfer syntax of each line, in order.
fn listed(statement: &Statement, caption: &str) -> Vec<(String, String)> {
    let rows = statement.table(caption);
    rows.iter().map(|row| (row.cell("SOP Class UID").to_owned(), row.cell("Transfer Syntax UID").to_owned())).collect()
}

/// SOP class and transfer syntax of each proposed context, in order: one syntax each, ids 1, 3, 5 ...
fn proposed(request: &Request) -> Vec<(String, String)> {
    let contexts = request.contexts.iter().zip((1..).step_by(2));
    contexts
        .map(|((id, class, syntaxes), expected_id)| {
            assert_eq!((*id, syntaxes.len()), (expected_id, 1), "{request:?}");
            (class.clone(), syntaxes[0].clone())
        })
        .collect()
}

/// A study's results as the writers make them, in a spool, reported for one destination.
async fn with_results(bench: &Bench, port: u16, templates: &Templates) -> String {
    let inputs = bench.folder.path().join("inputs");
    std::fs::create_dir_all(&inputs).unwrap();
    let study = study(&inputs, Acquisition::Axial, Acquisition::Sagittal);
    let uid = study.study_uid.as_str();
    let results = bench.spool().join("results").join(uid);
    std::fs::create_dir_all(&results).unwrap();
    let objects =
        render(&study, &suspected(&study), templates, &config::Report::default(), &Revision::first(), &results)
            .unwrap();
    bench.study(uid, "analyzing").await;
    bench.report_objects(uid, &objects, &destinations(&[("pacs", port, "")])).await;
    uid.to_owned()
}

/// A copy of the DICOM templates with another class for the report, and a configuration that names it.
fn installation(folder: &Path, report_class: &str) -> (PathBuf, PathBuf) {
    let templates = folder.join("templates");
    std::fs::create_dir_all(&templates).unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("dicom-templates")).unwrap() {
        let path = entry.unwrap().path();
        let text =
            std::fs::read_to_string(&path).unwrap().replace("\"comprehensive-3d\"", &format!("{report_class:?}"));
        std::fs::write(templates.join(path.file_name().unwrap()), text).unwrap();
    }
    let file = folder.join("fcdd.toml");
    let text = "version = 1\n[receive]\nae_title = \"FCDD\"\n[spool]\ndirectory = \"spool\"\n[analyze]\nmodels = [\"m\"]\n\
                [report]\ntemplates = \"templates\"\n";
    std::fs::write(&file, text).unwrap();
    (file, templates)
}

#[tokio::test]
async fn results_are_proposed_as_listed_whatever_class_the_report_has() {
    let mut report_classes = Vec::new();
    for report_class in ["comprehensive-3d", "comprehensive", "enhanced"] {
        let bench = Bench::new().await;
        let (configuration, templates) = installation(bench.folder.path(), report_class);
        let statement = Statement::printed([Path::new("--config"), &configuration]);
        let peer = ScriptedScp::start(Welcome::All, |_| Reply::Status(0));
        let study = with_results(&bench, peer.port, &Templates::load(&templates).unwrap()).await;
        let delivering = bench.deliver(&destinations(&[("pacs", peer.port, "")]));
        bench.until(&study, StudyState::Delivered).await;
        delivering.stop().await;
        let heard = peer.heard();
        assert_eq!(heard.requests.len(), 1, "one association for a study");
        let request = &heard.requests[0];
        assert_eq!((request.called.as_str(), request.calling.as_str()), ("PACS", "FCDD"));
        assert_eq!(proposed(request), listed(&statement, RESULTS));
        assert_user_information(request, &statement);
        // Explicit VR where it is accepted; the report last.
        assert!(heard.messages.iter().all(|m| m.transfer_syntax == "1.2.840.10008.1.2.1"), "{:?}", heard.messages);
        let last = &heard.messages.last().unwrap().sop_class;
        assert!(heard.messages.iter().rev().skip(1).all(|m| m.sop_class != *last));
        // What was sent is what the overview and the list of classes say.
        let mut sent: Vec<String> = heard.messages.iter().map(|m| m.sop_class.clone()).collect();
        sent.push("1.2.840.10008.1.1".into());
        sent.sort();
        sent.dedup();
        let mut classes = statement.column("SOP classes sent", "SOP Class UID");
        classes.sort();
        let services = statement.table("Network services");
        let used = services.iter().filter(|row| row.cell("User of service (SCU)") == "Yes");
        let mut used: Vec<String> = used.map(|row| row.cell("SOP Class UID").to_owned()).collect();
        used.sort();
        assert_eq!((&classes, &used), (&sent, &sent));
        report_classes.push(last.clone());
    }
    let default = Statement::printed::<&str>([]);
    for class in &report_classes {
        assert!(default.text.contains(&format!("({class})")), "{class} is named as a choice");
    }
    assert_eq!(listed(&default, RESULTS).last().unwrap().0, report_classes[0]);
}

fn assert_user_information(request: &Request, statement: &Statement) {
    let values = statement.column("User information that DELIVER sends", "Value");
    let length: u32 = values[0].parse().unwrap();
    let expected = [
        (0x51, length.to_be_bytes().to_vec()),
        (0x52, values[1].clone().into_bytes()),
        (0x55, values[2].clone().into_bytes()),
    ];
    assert_eq!(request.user_information, expected);
}

/// The first, a middle and the last status of a line such as `A700H-A7FFH`.
fn statuses(row: &Row) -> Vec<u16> {
    let number = |text: &str| u16::from_str_radix(text.trim_end_matches('H'), 16).unwrap();
    match row.cell("Status") {
        "any other" => vec![0x0001, 0x0110, 0x0111, 0xA800, 0xAA00, 0xFE00, 0xFF00],
        range => match range.split_once('-') {
            Some((first, last)) => vec![number(first), number(first) + 6, number(last)],
            None => vec![number(range)],
        },
    }
}

/// The ledger's word for what a line says.
fn expected_in_ledger(treatment: &str) -> &'static str {
    match treatment.split([':', ' ']).next() {
        Some("delivered") => "delivered",
        Some("tried") => "waiting",
        Some("refused") => "refused",
        other => panic!("{other:?} of {treatment:?}"),
    }
}

/// The only delivery of a study, once something has become of it.
async fn outcome(bench: &Bench, study: &str) -> StoredDelivery {
    let happened = |delivery: &StoredDelivery| delivery.attempts > 0 || !delivery.last_error.is_empty();
    let details = bench
        .until_details("something happened", study, |details| {
            details.objects.iter().any(|object| object.deliveries.iter().any(happened))
        })
        .await;
    details.objects[0].deliveries[0].clone()
}

#[tokio::test]
async fn each_status_is_treated_as_listed() {
    let statement = Statement::printed::<&str>([]);
    let rows = statement.table("Treatment of C-STORE statuses");
    assert_eq!(rows.last().unwrap().cell("Status"), "any other");
    // The status is the third part of the report's UID.
    let peer = ScriptedScp::start(Welcome::All, |message| {
        Reply::Status(message.sop_instance.split('.').nth(2).unwrap().parse().unwrap())
    });
    let bench = Bench::new().await;
    // What waits shall wait until the test is over.
    let to = destinations(&[("pacs", peer.port, "retry_s = 3600.0\nmax_retry_s = 3600.0")]);
    let cases: Vec<(u16, &Row)> =
        rows.iter().flat_map(|row| statuses(row).into_iter().map(move |s| (s, row))).collect();
    assert!(cases.len() >= 25);
    for (status, _) in &cases {
        bench.report(&format!("1.2.{status}"), 0, &to).await;
    }
    let delivering = bench.deliver(&to);
    for (status, row) in &cases {
        let delivery = outcome(&bench, &format!("1.2.{status}")).await;
        let seen = (delivery.status.name(), delivery.dimse_status);
        assert_eq!(seen, (expected_in_ledger(row.cell("The object is")), Some(*status)), "{status:04X}H: {row:?}");
    }
    delivering.stop().await;
    let heard = peer.heard();
    assert_eq!(heard.messages.len(), cases.len(), "each was sent once");
    assert_eq!(heard.most_open, 1, "one association at a time");
}

#[tokio::test]
async fn each_other_event_is_treated_as_listed() {
    let says = |reply: Reply| move |_: &scripted_scp::Message| reply;
    let all = |reply| ScriptedScp::start(Welcome::All, says(reply)).port;
    let welcomed = |welcome| ScriptedScp::start(welcome, says(Reply::Status(0))).port;
    // Nobody listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let events = [
        ("the connection cannot be made", closed),
        ("the connection cannot be made", all(Reply::Close)),
        ("the association is rejected", welcomed(Welcome::Reject(1, 1, 3))),
        ("the association is rejected", welcomed(Welcome::Reject(2, 3, 1))),
        ("the association is aborted by the peer", all(Reply::Abort)),
        ("no answer comes within", all(Reply::Silence)),
        ("no answer comes within", all(Reply::ToAnotherMessage)),
        ("no presentation context is accepted", welcomed(Welcome::None)),
        ("the object's file is gone", all(Reply::Status(0))),
    ];
    let rows = Statement::printed::<&str>([]).table("Treatment of other events");
    for row in &rows {
        assert!(events.iter().any(|(event, _)| row.cell("Event").starts_with(event)), "not provoked: {row:?}");
    }
    for (number, (event, port)) in events.into_iter().enumerate() {
        let row = rows.iter().find(|row| row.cell("Event").starts_with(event)).expect(event);
        let bench = Bench::new().await;
        let timeout_s = if event == "no answer comes within" { 1 } else { 60 };
        let retries = format!("retry_s = 3600.0\nmax_retry_s = 3600.0\ntimeout_s = {timeout_s}");
        let to = destinations(&[("pacs", port, &retries)]);
        let study = format!("1.2.{number}");
        bench.report(&study, 0, &to).await;
        if event.contains("file is gone") {
            std::fs::remove_dir_all(bench.spool().join("results").join(&study)).unwrap();
        }
        let delivering = bench.deliver(&to);
        let delivery = outcome(&bench, &study).await;
        delivering.stop().await;
        let expected = expected_in_ledger(row.cell("The object is"));
        assert_eq!(delivery.status.name(), expected, "{event}: {}", delivery.last_error);
        assert_eq!(delivery.dimse_status, None, "{event}");
    }
}

#[test]
fn echo_and_send_propose_what_is_listed() {
    let statement = Statement::printed::<&str>([]);
    let peer = ScriptedScp::start(Welcome::All, |_| Reply::Status(0));
    let to = format!("PACS@127.0.0.1:{}", peer.port);
    let fcdd = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_fcdd")).args(arguments).output().unwrap();
    assert!(fcdd(&["echo", &to]).status.success());
    let heard = peer.heard();
    assert_eq!(proposed(&heard.requests[0]), listed(&statement, "Presentation contexts proposed for Verification"));
    assert_eq!(heard.messages[0].sop_class, "1.2.840.10008.1.1");

    // Files of the classes that results have are proposed like results.
    let folder = tempfile::tempdir().unwrap();
    for (number, class) in [bench::SECONDARY_CAPTURE, bench::COMPREHENSIVE_3D_SR].iter().enumerate() {
        let uid = format!("1.2.{number}");
        bench::write_object(&folder.path().join(&uid), class, "1.2", &uid);
    }
    assert!(fcdd(&["send", folder.path().to_str().unwrap(), "--to", &to]).status.success());
    let heard = peer.heard();
    assert_eq!(proposed(&heard.requests[1]), listed(&statement, RESULTS));
    assert_eq!(heard.messages.len(), 3);
}
