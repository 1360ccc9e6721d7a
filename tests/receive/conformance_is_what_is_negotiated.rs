//! Every line of the conformance statement that the real program prints is negotiated with a receiver: what it
//! accepts, what it rejects and aborts and with which numbers, and every status that it answers.
//!
//! Two lines cannot be provoked so that a peer sees them. An A-ABORT because the peer does not take our answers waits
//! behind the very answers that it does not take. And that a defect of fcdd closes the connection would need one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use fcdd::spool::{Commit, Committed, RenameCommit, SpoolError};
use tokio::task::JoinSet;

use crate::scripted_peer::*;
use crate::statement::{Row, Statement};

fn by_default() -> Statement {
    Statement::printed::<&str>([])
}

/// Proposes contexts and gives their results.
async fn negotiate(receiver: &Receiver, contexts: &[(u8, &str, &[&str])]) -> BTreeMap<u8, (u8, String)> {
    let mut peer = Peer::connect(receiver.address).await;
    peer.send(&associate_rq("FCDD", "SCRIPT", contexts)).await;
    let answer = peer.answer().await;
    peer.release().await;
    answer.contexts()
}

/// The number of a result by what it means.
fn result(statement: &Statement, meaning: &str) -> u8 {
    let rows = statement.table("Results of presentation contexts");
    rows.iter().find(|row| row.cell("Meaning") == meaning).expect(meaning).number("Result")
}

#[tokio::test]
async fn each_class_is_accepted_in_each_transfer_syntax() {
    let statement = by_default();
    let classes = statement.column("SOP classes accepted", "SOP Class UID");
    let syntaxes = statement.column("Transfer syntaxes accepted", "Transfer Syntax UID");
    assert_eq!((classes.len(), syntaxes.len()), (17, 19));
    let pairs: Vec<(&str, [&str; 1])> = classes
        .iter()
        .flat_map(|class| syntaxes.iter().map(move |syntax| (class.as_str(), [syntax.as_str()])))
        .collect();
    let receiver = Receiver::start("").await;
    let mut negotiated = 0;
    // Context ids are the odd numbers up to 255.
    for pairs in pairs.chunks(128) {
        let proposed: Vec<(u8, &str, &[&str])> =
            (0..).zip(pairs).map(|(n, (class, syntax))| (2 * n + 1, *class, syntax.as_slice())).collect();
        let results = negotiate(&receiver, &proposed).await;
        for (id, class, syntax) in &proposed {
            assert_eq!(results[id], (result(&statement, "acceptance"), syntax[0].to_owned()), "{class} in {syntax:?}");
            negotiated += 1;
        }
    }
    assert_eq!(negotiated, 17 * 19);
    // The overview says the same.
    let services = statement.table("Network services");
    let provided = services.iter().filter(|row| row.cell("Provider of service (SCP)") == "Yes");
    let mut provided: Vec<&str> = provided.map(|row| row.cell("SOP Class UID")).collect();
    let mut accepted: Vec<&str> = classes.iter().map(String::as_str).collect();
    provided.sort_unstable();
    accepted.sort_unstable();
    assert_eq!(provided, accepted);
}

#[tokio::test]
async fn what_is_not_listed_gets_the_stated_result() {
    const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
    const MPEG4: &str = "1.2.840.10008.1.2.4.102";
    let statement = by_default();
    let syntaxes = statement.column("Transfer syntaxes accepted", "Transfer Syntax UID");
    for unlisted in [MPEG4, "1.2.840.10008.1.2.4.95", "1.2.3"] {
        assert!(!syntaxes.iter().any(|syntax| syntax == unlisted));
    }
    assert!(!statement.column("SOP classes accepted", "SOP Class UID").iter().any(|class| class == CT));
    let receiver = Receiver::start("").await;
    let results = negotiate(
        &receiver,
        &[
            (1, CT, &[EXPLICIT_LE]),
            (3, "1.2.840.10008.5.1.4.1.2.2.1", &[EXPLICIT_LE]), // Query/Retrieve
            (5, CT, &[MPEG4]),
            (7, MR_IMAGE_STORAGE, &[MPEG4, "1.2.840.10008.1.2.4.95", "1.2.3"]),
        ],
    )
    .await;
    let no_class = result(&statement, "abstract-syntax-not-supported");
    let no_syntax = result(&statement, "transfer-syntaxes-not-supported");
    assert_eq!([1, 3, 5, 7].map(|id| results[&id].0), [no_class, no_class, no_class, no_syntax]);
}

#[tokio::test]
async fn the_first_proposed_syntax_that_is_listed_is_taken() {
    let statement = by_default();
    let syntaxes = statement.column("Transfer syntaxes accepted", "Transfer Syntax UID");
    // Each once in front of all others, behind one that is not listed.
    let orders: Vec<Vec<&str>> = (0..syntaxes.len())
        .map(|first| {
            let rotated = syntaxes.iter().cycle().skip(first).take(syntaxes.len());
            ["1.2.840.10008.1.2.4.102"].into_iter().chain(rotated.map(String::as_str)).collect()
        })
        .collect();
    let proposed: Vec<(u8, &str, &[&str])> =
        (0..).zip(&orders).map(|(n, order)| (2 * n + 1, MR_IMAGE_STORAGE, order.as_slice())).collect();
    let results = negotiate(&Receiver::start("").await, &proposed).await;
    for (id, _, order) in proposed {
        assert_eq!(results[&id], (result(&statement, "acceptance"), order[1].to_owned()));
    }
}

#[tokio::test]
async fn user_information_is_what_is_listed_whatever_is_asked_for() {
    let statement = by_default();
    let receiver = Receiver::start("").await;
    let mut peer = Peer::connect(receiver.address).await;
    let mut role = vec![0x00, 0x19];
    role.extend(MR_IMAGE_STORAGE.as_bytes());
    role.extend([0x01, 0x01]); // SCU and SCP
    let mut extended = vec![0x00, 0x19];
    extended.extend(MR_IMAGE_STORAGE.as_bytes());
    extended.extend([0x02, 0x00, 0x00, 0x00]); // level 2
    let identity = [0x01, 0x01, 0x00, 0x01, b'x', 0x00, 0x00]; // a user name, an answer is wished
    let wishes: [(u8, &[u8]); 4] =
        [(0x53, &[0x00, 0x05, 0x00, 0x05]), (0x54, &role), (0x56, &extended), (0x58, &identity)];
    peer.send(&associate_rq_with("FCDD", "SCRIPT", &STANDARD_CONTEXTS, &wishes)).await;
    let answered = peer.answer().await.user_information();
    let rows = statement.table("User information that RECEIVE sends");
    let value = |item: &str| rows.iter().find(|row| row.cell("Item") == item).expect(item).cell("Value").to_owned();
    let length: u32 = value("Maximum Length Received").parse().unwrap();
    let expected = [
        (0x51, length.to_be_bytes().to_vec()),
        (0x52, value("Implementation Class UID").into_bytes()),
        (0x55, value("Implementation Version Name").into_bytes()),
    ];
    assert_eq!(rows.len(), expected.len());
    assert_eq!(answered, expected);
}

#[tokio::test]
async fn as_many_associations_as_stated_are_served_at_once() {
    let statement = by_default();
    let rows = statement.table("Number of associations as an acceptor");
    let number = |key: &str| -> usize {
        rows.iter().find(|row| row.cell("Key") == key).expect(key).cell("Value").parse().unwrap()
    };
    let (total, per_address) = (number("`receive.max_associations`"), number("`receive.max_associations_per_peer`"));
    let receiver = Receiver::start("").await;
    let ask = async |address| {
        let mut peer = Peer::connect_from([127, 0, 0, address], receiver.address).await;
        peer.send(&associate_rq("FCDD", "SCRIPT", &STANDARD_CONTEXTS)).await;
        let answer = peer.answer().await;
        (peer, answer)
    };
    let mut open = Vec::new();
    for address in (10..).take(total / per_address) {
        for _ in 0..per_address {
            let (peer, answer) = ask(address).await;
            assert!(matches!(answer, Answer::Pdu(0x02, _)), "association {}: {answer:?}", open.len() + 1);
            open.push(peer);
        }
        let (_, answer) = ask(address).await;
        assert_eq!(answer.rejection(), numbers(&row_with(&statement, "Rejected associations", "max_associations")));
    }
    assert_eq!(open.len(), total);
    let (_, answer) = ask(9).await;
    assert_eq!(answer.rejection(), numbers(&row_with(&statement, "Rejected associations", "max_associations")));
}

/// The one row whose `When` begins with or contains these words.
fn row_with(statement: &Statement, caption: &str, when: &str) -> Row {
    let rows = statement.table(caption);
    let found: Vec<&Row> = rows.iter().filter(|row| row.cell("When").contains(when)).collect();
    assert_eq!(found.len(), 1, "{when}");
    found[0].clone()
}

/// Result, source and reason of a rejection.
fn numbers(row: &Row) -> (u8, u8, u8) {
    (row.number("Result"), row.number("Source"), row.number("Reason"))
}

/// A request with all faults but the first `right` of those that a request can have.
fn faulty_request(right: usize) -> Vec<u8> {
    let is_right = |fault: usize| right > fault;
    let called = if is_right(2) { "FCDD" } else { "ELSE" };
    let calling = if is_right(3) { "MR1" } else { "SCRIPT" };
    let id = if is_right(4) { 1 } else { 2 };
    let mut request = associate_rq(called, calling, &[(id, MR_IMAGE_STORAGE, &[EXPLICIT_LE])]);
    if !is_right(0) {
        request[6..8].copy_from_slice(&[0x00, 0x02]); // protocol version: bit 1 instead of bit 0
    }
    if !is_right(1) {
        // Behind header (6) and fixed fields (68) and the item's own head (4): 1.2.840.10008.3.1.1.1
        let last = 6 + 68 + 4 + "1.2.840.10008.3.1.1.1".len() - 1;
        request[last] = b'2';
    }
    request
}

#[tokio::test]
async fn each_rejection_is_provoked_and_the_first_that_applies_is_answered() {
    // In the order of the table; the last two are about the receiver and not about the request.
    const FAULTS: [&str; 7] = [
        "does not include version 1",
        "application context is not DICOM's",
        "the called AE title",
        "the calling AE title",
        "a presentation context id",
        "`receive.max_associations` associations already",
        "`spool.min_free_mib` is free",
    ];
    let rows = by_default().table("Rejected associations");
    assert_eq!(rows.len(), FAULTS.len(), "a line that is not provoked here");
    const CLOSED: &str = "allowed_calling_ae_titles = [\"MR1\"]";
    for (right, (row, fault)) in rows.iter().zip(FAULTS).enumerate() {
        assert!(row.cell("When").contains(fault), "{row:?}");
        let places: &[&str] =
            if right <= 5 { &["max_associations = 0", "max_associations_per_peer = 0"] } else { &[""] };
        for places in places {
            // Full and with a full disk, whatever the request is like.
            let settings = format!("{CLOSED}\n{places}");
            let receiver = Receiver::start_with(&settings, u64::MAX, Box::new(RenameCommit)).await;
            let mut peer = Peer::connect(receiver.address).await;
            peer.send(&faulty_request(right)).await;
            assert_eq!(peer.answer().await.rejection(), numbers(row), "{fault}");
        }
    }
    let receiver = Receiver::start(CLOSED).await;
    let mut peer = Peer::connect(receiver.address).await;
    peer.send(&faulty_request(5)).await;
    assert!(matches!(peer.answer().await, Answer::Pdu(0x02, _)), "without a fault it is accepted");
}

/// When bytes are sent that a receiver answers with an A-ABORT.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Connected,
    Associated,
}

/// Ways to each line of the table of aborts: words of the line, lines of `[receive]`, state, bytes.
fn provocations() -> Vec<(&'static str, &'static str, State, Vec<u8>)> {
    use State::{Associated, Connected};
    let store = p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "1.2.3"))]);
    let object = dataset("1.2.3", "1.2", 10);
    let echo_rsp = command(&[
        (0x0100, &[0x30, 0x80]), // C-ECHO-RSP
        (0x0120, &[0x01, 0x00]), // Message ID Being Responded To
        (0x0800, &[0x01, 0x01]), // no data set
        (0x0900, &[0x00, 0x00]), // status
    ]);
    let mut lying = associate_rq("FCDD", "SCRIPT", &STANDARD_CONTEXTS);
    lying[76..78].copy_from_slice(&[0xFF, 0xFF]); // length of the application context item
    let endless_command = [(1, COMMAND_MORE, [0; 16_000].as_slice()); 5].map(|value| p_data(&[value])).concat();
    let mut large = store.clone();
    for _ in 0..20 {
        large.extend(p_data(&[(1, DATA_MORE, &[0; 60_000])]));
    }
    vec![
        ("the first byte is no PDU type", "", Connected, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("the first byte is no PDU type", "", Connected, vec![0x16, 0x03, 0x01, 0x00, 0xA5, 0x01, 0x00, 0x00]),
        ("the first byte is no PDU type", "", Associated, vec![0x9D, 0x13, 0x77, 0x00, 0xFE, 0x01]),
        ("a PDU is longer than was announced", "", Connected, vec![0x01, 0x00, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("a PDU is longer than was announced", "", Associated, vec![0x04, 0x00, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("a PDU is longer than was announced", "", Connected, lying),
        ("a PDU comes that the state does not allow", "", Connected, p_data(&[(1, COMMAND_LAST, &echo_rq())])),
        (
            "a PDU comes that the state does not allow",
            "",
            Associated,
            associate_rq("FCDD", "SCRIPT", &STANDARD_CONTEXTS),
        ),
        ("a PDU comes that the state does not allow", "", Associated, [store.as_slice(), &A_RELEASE_RQ].concat()),
        ("no A-ASSOCIATE-RQ comes within", "association_request_timeout_s = 1", Connected, Vec::new()),
        ("was not accepted", "", Associated, p_data(&[(5, COMMAND_LAST, &echo_rq())])),
        (
            "goes on on another presentation context",
            "",
            Associated,
            [store.clone(), p_data(&[(3, DATA_LAST, &object)])].concat(),
        ),
        ("a P-DATA-TF holds no PDV", "", Associated, pdu(0x04, &[])),
        ("a data set fragment comes where a command", "", Associated, p_data(&[(1, DATA_LAST, &object)])),
        ("a command fragment comes where the data set", "", Associated, [store.clone(), store.clone()].concat()),
        ("a command set cannot be read", "", Associated, p_data(&[(1, COMMAND_LAST, &[0xFF; 40])])),
        ("a command set is longer than", "", Associated, endless_command),
        ("a request with a data set comes", "", Associated, p_data(&[(1, COMMAND_LAST, &find_rq(0x0001))])),
        ("a response comes to which there was no request", "", Associated, p_data(&[(3, COMMAND_LAST, &echo_rsp)])),
        ("a data set is larger than", "max_object_mib = 1", Associated, large),
        ("nothing comes between two messages", "idle_timeout_s = 1", Associated, Vec::new()),
        ("a message takes longer than", "object_timeout_s = 1", Associated, store.clone()),
        // Judged after 10 s.
        ("comes slower than", "min_bytes_per_s = 1000000", Associated, store),
        ("an association lasts longer than", "association_timeout_s = 1", Associated, Vec::new()),
    ]
}

/// The lines that no peer can be made to see, or that need more than bytes.
const NOT_BY_BYTES: [&str; 2] = ["the peer does not take a response", "fcdd is being stopped"];

#[tokio::test]
async fn each_abort_is_provoked() {
    let statement = by_default();
    let mut running = JoinSet::new();
    for (when, settings, state, bytes) in provocations() {
        let row = row_with(&statement, "Aborted associations", when);
        running.spawn(async move {
            let receiver = Receiver::start(settings).await;
            let mut peer = match state {
                State::Connected => Peer::connect(receiver.address).await,
                State::Associated => Peer::associated(receiver.address).await,
            };
            peer.send(&bytes).await;
            let answer = peer.answer().await;
            assert_eq!(answer.abort(), (row.number("Source"), row.number("Reason")), "{when} ({state:?})");
        });
    }
    running.join_all().await;
    let provoked: Vec<&str> = provocations().iter().map(|(when, ..)| *when).chain(NOT_BY_BYTES).collect();
    for row in statement.table("Aborted associations") {
        assert!(provoked.iter().any(|when| row.cell("When").contains(when)), "not provoked: {row:?}");
    }
}

#[tokio::test]
async fn a_stop_aborts_as_stated() {
    let row = row_with(&by_default(), "Aborted associations", "fcdd is being stopped");
    let receiver = Receiver::start("").await;
    let mut idle = Peer::associated(receiver.address).await;
    let mut storing = Peer::associated(receiver.address).await;
    storing.send(&p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "1.2.3"))])).await;
    for fragment in dataset("1.2.3", "1.2", 2_000_000)[..1_500_000].chunks(60_000) {
        storing.send(&p_data(&[(1, DATA_MORE, fragment)])).await;
    }
    receiver.wait_for_incoming().await;
    receiver.shutdown.cancel();
    for peer in [&mut idle, &mut storing] {
        assert_eq!(peer.answer().await.abort(), (row.number("Source"), row.number("Reason")));
    }
}

/// A disk that fails for one SOP instance.
#[derive(Debug)]
struct FailsForOne;

const FAILING: &str = "1.2.9";

impl Commit for FailsForOne {
    fn commit(&self, file: &File, temporary: &Path, to: &Path) -> Result<Committed, SpoolError> {
        if to.ends_with(format!("{FAILING}.dcm")) {
            let source = io::Error::other("made for this test");
            return Err(SpoolError::Io { doing: "sync", path: temporary.to_owned(), source });
        }
        RenameCommit.commit(file, temporary, to)
    }
}

#[tokio::test]
async fn each_status_of_c_store_is_provoked_in_one_association() {
    let object = dataset("1.2.3", "1.2", 100);
    let mut variant = object.clone();
    *variant.last_mut().unwrap() ^= 1;
    let other = dataset("1.2.4", "1.2", 100);
    let failing = dataset(FAILING, "1.2", 100);
    // Words of the line, SOP class and SOP instance of the command, the data set.
    let stores: [(&str, &str, &str, &[u8]); 8] = [
        ("is on stable storage", MR_IMAGE_STORAGE, "1.2.3", &object),
        ("the same data set is there already", MR_IMAGE_STORAGE, "1.2.3", &object),
        ("kept in quarantine", MR_IMAGE_STORAGE, "1.2.3", &variant),
        ("the disk or the ledger failed", MR_IMAGE_STORAGE, FAILING, &failing),
        ("is not the abstract syntax", "1.2.840.10008.5.1.4.1.1.7", "1.2.4", &other),
        ("of the command is not a UID", MR_IMAGE_STORAGE, "../1.2.4", &other),
        ("differ from those of the command", MR_IMAGE_STORAGE, "1.2.5", &other),
        ("is missing or not a UID", MR_IMAGE_STORAGE, "1.2.4", &other[..60]),
    ];
    let rows = by_default().table("Statuses of C-STORE responses");
    assert_eq!(rows.len(), stores.len(), "a line that is not provoked here");
    let receiver = Receiver::start_with("", 0, Box::new(FailsForOne)).await;
    let mut peer = Peer::associated(receiver.address).await;
    for (row, (when, class, instance, dataset)) in rows.iter().zip(stores) {
        assert!(row.cell("When").contains(when), "{row:?}");
        peer.send(&p_data(&[(1, COMMAND_LAST, &store_rq(class, instance))])).await;
        peer.send_dataset(1, dataset).await;
        let (status, comment) = peer.answer().await.status();
        assert_eq!(format!("{status:04X}H"), row.cell("Status"), "{when}: {comment}");
        assert_eq!(comment.is_empty(), status == 0, "{comment}");
        assert!(comment.len() <= 64, "{comment}");
    }
    peer.release().await;
    assert_eq!((receiver.files("studies").len(), receiver.files("quarantine").len()), (1, 1));
    let receipt = receiver.receipt().await;
    let counts = (receipt.stored, receipt.duplicates, receipt.quarantined, receipt.refused);
    assert_eq!(counts, (1, 1, 1, 5));
}

#[tokio::test]
async fn each_status_of_other_services_is_provoked() {
    let requests = [
        ("for Verification", 3, echo_rq()),
        ("for a storage SOP class", 1, echo_rq()),
        ("a service other than C-STORE and C-ECHO", 1, find_rq(0x0101)),
    ];
    let rows = by_default().table("Statuses of other responses");
    assert_eq!(rows.len(), requests.len(), "a line that is not provoked here");
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    for (row, (when, context_id, request)) in rows.iter().zip(requests) {
        assert!(row.cell("When").contains(when), "{row:?}");
        peer.send(&p_data(&[(context_id, COMMAND_LAST, &request)])).await;
        assert_eq!(format!("{:04X}H", peer.answer().await.status().0), row.cell("Status"), "{when}");
    }
}

#[tokio::test]
async fn nothing_is_stored_on_a_context_for_verification() {
    let row = row_with(&by_default(), "Statuses of C-STORE responses", "or that is Verification");
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    peer.send(&p_data(&[(3, COMMAND_LAST, &store_rq(VERIFICATION, "1.2.3"))])).await;
    let object = dataset("1.2.3", "1.2", 10);
    // The data set says Verification too, so nothing else is wrong with it.
    let class = object.windows(MR_IMAGE_STORAGE.len()).position(|w| w == MR_IMAGE_STORAGE.as_bytes()).unwrap();
    let mut padded = VERIFICATION.as_bytes().to_vec();
    padded.resize(MR_IMAGE_STORAGE.len() + 1, 0);
    let object = [&object[..class], &padded, &object[class + padded.len()..]].concat();
    peer.send_dataset(3, &object).await;
    assert_eq!(format!("{:04X}H", peer.answer().await.status().0), row.cell("Status"));
    assert!(receiver.files("studies").is_empty());
}

#[tokio::test]
async fn the_statement_of_an_installation_says_what_that_one_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let receive = "max_associations = 2\nsop_classes = [\"1.2.840.10008.5.1.4.1.1.2\"]\nmax_pdu_bytes = 32768";
    let file = folder.path().join("fcdd.toml");
    let config = format!(
        "version = 1\n[receive]\nae_title = \"FCDD\"\n{receive}\n[spool]\ndirectory = \"spool\"\n[analyze]\nmodels = [\"m\"]\n"
    );
    std::fs::write(&file, config).unwrap();
    let statement = Statement::printed([Path::new("--config"), &file]);
    let classes = statement.column("SOP classes accepted", "SOP Class UID");
    assert_eq!(classes, ["1.2.840.10008.5.1.4.1.1.2", VERIFICATION]);
    let receiver = Receiver::start(receive).await;
    let results =
        negotiate(&receiver, &[(1, &classes[0], &[EXPLICIT_LE]), (3, MR_IMAGE_STORAGE, &[EXPLICIT_LE])]).await;
    assert_eq!((results[&1].0, results[&3].0), (0, 3));
    let parameters = statement.table("Parameters of RECEIVE");
    let limit = parameters.iter().find(|row| row.cell("Key") == "`receive.max_associations`").unwrap();
    assert_eq!((limit.cell("Default"), limit.cell("This installation")), ("64", "2"));
    assert_eq!(statement.table("User information that RECEIVE sends")[0].cell("Value"), "32768");
}
