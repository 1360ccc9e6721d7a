//! Messages that go wrong before an object is there: presentation contexts, the order of fragments, command sets, other
//! services, and leaving in the middle.

use super::Expected::{Abort, Gone, Refused, Stored, Unanswered};
use super::{Ending, Expected, Family, STUDY, fresh_uid};
use crate::scripted_peer::{
    A_ABORT, A_RELEASE_RQ, COMMAND_LAST, COMMAND_MORE, DATA_LAST, DATA_MORE, MR_IMAGE_STORAGE, STANDARD_CONTEXTS,
    associate_rq, command, dataset, echo_rq, find_rq, p_data, store_rq,
};

const BY_APPLICATION: (u8, u8) = (0, 0);
const UNEXPECTED_PDU: (u8, u8) = (2, 2);
const UNEXPECTED_PARAMETER: (u8, u8) = (2, 5);
const INVALID_PARAMETER: (u8, u8) = (2, 6);

pub fn families() -> Vec<Family> {
    let mut families = contexts();
    families.extend(order());
    families.extend(command_sets());
    families.extend(other_services());
    families.extend(leaving_in_the_middle());
    families
}

/// Command and data set of one object, and its UID.
fn object() -> (String, Vec<u8>, Vec<u8>) {
    let uid = fresh_uid();
    (uid.clone(), store_rq(MR_IMAGE_STORAGE, &uid), dataset(&uid, STUDY, 300))
}

fn aborted(name: impl Into<String>, bytes: Vec<u8>, answer: (u8, u8), why: &'static str) -> Family {
    Family::associated(name, bytes, Abort(answer, why))
}

fn contexts() -> Vec<Family> {
    let (_, store, data) = object();
    let (half, rest) = store.split_at(50);
    let echo = |id| p_data(&[(id, COMMAND_LAST, &echo_rq())]);
    let whole = |ids: [u8; 2]| p_data(&[(ids[0], COMMAND_LAST, &store), (ids[1], DATA_LAST, &data)]);
    let mut families = vec![
        aborted(
            "context 5, never proposed",
            echo(5),
            INVALID_PARAMETER,
            "presentation context 5, which was not accepted: it was not proposed",
        ),
        aborted(
            "context 0",
            echo(0),
            INVALID_PARAMETER,
            "presentation context 0, which was not accepted: it was not proposed",
        ),
        aborted(
            "context 2",
            echo(2),
            INVALID_PARAMETER,
            "presentation context 2, which was not accepted: it was not proposed",
        ),
        aborted(
            "context 255",
            echo(255),
            INVALID_PARAMETER,
            "presentation context 255, which was not accepted: it was not proposed",
        ),
        aborted("data on another context", whole([1, 3]), INVALID_PARAMETER, "context 1 and went on on 3"),
        aborted("data on no context", whole([1, 99]), INVALID_PARAMETER, "context 1 and went on on 99"),
        aborted(
            "a command that changes its context",
            p_data(&[(1, COMMAND_MORE, half), (3, COMMAND_LAST, rest)]),
            INVALID_PARAMETER,
            "context 1 and went on on 3",
        ),
        aborted(
            "a data set that changes its context",
            p_data(&[(1, COMMAND_LAST, &store), (1, DATA_MORE, &data[..100]), (3, DATA_LAST, &data[100..])]),
            INVALID_PARAMETER,
            "context 1 and went on on 3",
        ),
        Family::associated(
            "an object on the context for C-ECHO",
            whole([3, 3]),
            Refused(0x0122, "SOP class does not belong"),
        ),
        Family::associated("C-ECHO on the context for images", echo(1), Refused(0x0122, "not served")),
    ];
    // Proposed and refused: CT is not among the classes of the configuration, MPEG-4 not among the syntaxes.
    const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
    const MPEG_4: &str = "1.2.840.10008.1.2.4.102";
    let refused = associate_rq("FCDD", "HOSTILE", &[(1, CT, &["1.2.840.10008.1.2"]), (3, MR_IMAGE_STORAGE, &[MPEG_4])]);
    let class = "context 1, which was not accepted: the SOP class is not accepted";
    let syntax = "context 3, which was not accepted: the SOP class is accepted, none of the transfer syntaxes is";
    for (id, why) in [(1, class), (3, syntax)] {
        let bytes = [refused.as_slice(), &p_data(&[(id, COMMAND_LAST, &store), (id, DATA_LAST, &data)])].concat();
        let expected = Abort(INVALID_PARAMETER, why);
        families.push(Family::stranger(format!("context {id}, proposed and refused"), bytes, expected));
    }
    families
}

fn order() -> Vec<Family> {
    let (_, store, data) = object();
    let command_first = "data set bytes came where a command must be";
    let data_first = "a command came where a data set must be";
    let endless = [(1, COMMAND_MORE, [0; 16_000].as_slice()); 5].map(|value| p_data(&[value])).concat();
    let one_byte_too_long = [vec![0; 65_536], vec![0]].map(|part| p_data(&[(1, COMMAND_MORE, &part)])).concat();
    vec![
        aborted("data first", p_data(&[(1, DATA_LAST, &data)]), UNEXPECTED_PARAMETER, command_first),
        aborted("an empty value first", p_data(&[(1, DATA_LAST, &[])]), UNEXPECTED_PARAMETER, command_first),
        aborted(
            "data in the middle of a command",
            p_data(&[(1, COMMAND_MORE, &store[..40]), (1, DATA_LAST, &data)]),
            UNEXPECTED_PARAMETER,
            command_first,
        ),
        aborted(
            "a command twice",
            p_data(&[(1, COMMAND_LAST, &store), (1, COMMAND_LAST, &store)]),
            UNEXPECTED_PARAMETER,
            data_first,
        ),
        aborted(
            "a command in the middle of a data set",
            p_data(&[(1, COMMAND_LAST, &store), (1, DATA_MORE, &data[..99]), (1, COMMAND_LAST, &echo_rq())]),
            UNEXPECTED_PARAMETER,
            data_first,
        ),
        aborted(
            "a data set twice",
            p_data(&[(1, COMMAND_LAST, &store), (1, DATA_LAST, b""), (1, DATA_LAST, &data)]),
            UNEXPECTED_PARAMETER,
            command_first,
        ),
        aborted("an endless command", endless, BY_APPLICATION, "a command is longer than 65536 bytes"),
        aborted("a command a byte too long", one_byte_too_long, BY_APPLICATION, "longer than 65536 bytes"),
    ]
}

/// Elements of a C-STORE-RQ; each may be left out or replaced.
fn store_with(change: impl Fn(&mut Vec<(u16, Vec<u8>)>)) -> Vec<u8> {
    let mut elements = vec![
        (0x0002, [MR_IMAGE_STORAGE.as_bytes(), &[0]].concat()),
        (0x0100, vec![0x01, 0x00]),
        (0x0110, vec![0x07, 0x00]),
        (0x0700, vec![0x00, 0x00]),
        (0x0800, vec![0x01, 0x00]),
        (0x1000, b"2.25.7000".to_vec()),
    ];
    change(&mut elements);
    let elements: Vec<(u16, &[u8])> = elements.iter().map(|(number, value)| (*number, value.as_slice())).collect();
    command(&elements)
}

fn command_sets() -> Vec<Family> {
    let set = |set: &[u8]| p_data(&[(1, COMMAND_LAST, set)]);
    let broken = |name: &str, bytes: &[u8], why| aborted(name, set(bytes), INVALID_PARAMETER, why);
    let replace = |number: u16, value: &'static [u8]| {
        store_with(|elements| elements.iter_mut().filter(|(n, _)| *n == number).for_each(|(_, v)| *v = value.to_vec()))
    };
    let without = |number: u16| store_with(|elements| elements.retain(|(n, _)| *n != number));
    let whole = store_with(|_| {});
    let mut other_group = whole.clone();
    other_group[12] = 0x08; // of the group number of the second element
    let mut claims = whole.clone();
    claims[16..20].copy_from_slice(&[0xFF; 4]); // length of the second element
    let mut families = vec![
        broken("an empty command", &[], "the command set lacks element (0000,0100)"),
        broken("rubbish as a command", &[0xFF; 40], "holds element (FFFF,FFFF), only group 0000 is allowed"),
        broken("stray bytes behind a command", &[whole.as_slice(), &[0; 3]].concat(), "3 stray bytes at the end"),
        broken("an element of group 0008", &other_group, "holds element (0008,0002)"),
        broken("an element of 4 GiB", &claims, "element (0000,0002) of the command set claims 4294967295 bytes"),
        broken(
            "elements out of order",
            &store_with(|e| e.swap(1, 2)),
            "(0000,0100) of the command set is out of order",
        ),
        broken(
            "an element twice",
            &store_with(|e| e.insert(1, e[1].clone())),
            "(0000,0100) of the command set is out of",
        ),
        broken("no command field", &without(0x0100), "lacks element (0000,0100)"),
        broken("no message id", &without(0x0110), "lacks element (0000,0110)"),
        broken("no word about the data set", &without(0x0800), "lacks element (0000,0800)"),
        broken("no SOP class", &without(0x0002), "lacks element (0000,0002)"),
        broken("no SOP instance", &without(0x1000), "lacks element (0000,1000)"),
        broken("an empty SOP instance", &replace(0x1000, b""), "lacks element (0000,1000)"),
        broken("a SOP instance of padding", &replace(0x1000, b"\0\0  "), "lacks element (0000,1000)"),
        broken(
            "a command field of 4 bytes",
            &replace(0x0100, &[1, 0, 0, 0]),
            "(0000,0100) of the command set has 4 bytes",
        ),
        broken("an empty message id", &replace(0x0110, b""), "(0000,0110) of the command set has 0 bytes, 2 were"),
        broken("C-STORE without a data set", &replace(0x0800, &[1, 1]), "says that no data set follows"),
    ];
    // The fragments say where a command ends; a sender that counts wrongly loses nothing by it.
    let (uid, mut store, data) = object();
    store[8..12].copy_from_slice(&[0xFF; 4]); // value of the group length
    let bytes = p_data(&[(1, COMMAND_LAST, &store), (1, DATA_LAST, &data)]);
    families.push(Family::of_object("a wrong group length", bytes, (uid, data), Stored));
    families
}

fn other_services() -> Vec<Family> {
    let unserved = Refused(0x0211, "not served");
    let mut families = Vec::new();
    // C-GET, C-FIND, C-MOVE, N-EVENT-REPORT, N-GET, N-SET, N-ACTION, N-CREATE, N-DELETE, and two that do not exist.
    for field in [0x0010_u16, 0x0020, 0x0021, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x0002, 0x7FFF] {
        let request = |data_set: u16| {
            let mut set = find_rq(data_set);
            let at = set.windows(4).position(|four| four == [0x00, 0x00, 0x00, 0x01]).expect("a command field") + 8;
            set[at..at + 2].copy_from_slice(&field.to_le_bytes());
            set
        };
        let bytes = p_data(&[(1, COMMAND_LAST, &request(0x0101))]);
        families.push(Family::associated(format!("request {field:04X}H"), bytes, unserved.clone()));
        let bytes = p_data(&[(1, COMMAND_LAST, &request(0x0001))]);
        let why = "only C-STORE and C-ECHO are served";
        families.push(aborted(format!("request {field:04X}H with a data set"), bytes, (2, 0), why));
    }
    let cancel = command(&[(0x0100, &[0xFF, 0x0F]), (0x0120, &[0x07, 0x00]), (0x0800, &[0x01, 0x01])]);
    let cancel = Family::associated("C-CANCEL", p_data(&[(1, COMMAND_LAST, &cancel)]), Unanswered("0FFFH"));
    families.push(cancel.ending(Ending::Releases));
    let response = |field: u16| {
        let set = command(&[
            (0x0100, &field.to_le_bytes()),
            (0x0120, &[0x07, 0x00]), // Message ID Being Responded To
            (0x0800, &[0x01, 0x01]), // no data set
            (0x0900, &[0x00, 0x00]), // success
        ]);
        p_data(&[(1, COMMAND_LAST, &set)])
    };
    for (field, why) in [
        (0x8001, "a C-STORE response to which there was no request"),
        (0x8030, "a C-ECHO response to which there was no request"),
        (0x8020, "a response 8020H to which there was no request"),
        (0xFFFF, "a response FFFFH to which there was no request"),
    ] {
        families.push(aborted(format!("response {field:04X}H"), response(field), UNEXPECTED_PARAMETER, why));
    }
    // Fifty questions: one line, and the receipt counts them.
    let question = p_data(&[(1, COMMAND_LAST, &find_rq(0x0101))]);
    let many =
        Family::associated("fifty C-FINDs", question.repeat(50), Refused(0x0211, "asked 50 times for what is not"));
    families.push(Family { answers: 50, ..many });
    families
}

/// Leaving by every way at every point of a message.
fn leaving_in_the_middle() -> Vec<Family> {
    let (_, store, data) = object();
    let command_pdu = p_data(&[(1, COMMAND_LAST, &store)]);
    let points: [(&str, Vec<u8>); 4] = [
        ("in the middle of a command", p_data(&[(1, COMMAND_MORE, &store[..40])])),
        ("between command and data set", command_pdu.clone()),
        ("in the middle of a data set", [command_pdu.clone(), p_data(&[(1, DATA_MORE, &data[..200])])].concat()),
        (
            "behind the last byte, which is not the last fragment",
            [command_pdu, p_data(&[(1, DATA_MORE, &data)])].concat(),
        ),
    ];
    let mut families = Vec::new();
    for (point, bytes) in points {
        let then = |more: &[u8]| [bytes.as_slice(), more].concat();
        let released = "an A-RELEASE-RQ came in the middle of a message";
        families.push(aborted(format!("a release {point}"), then(&A_RELEASE_RQ), UNEXPECTED_PDU, released));
        let request = associate_rq("FCDD", "HOSTILE", &STANDARD_CONTEXTS);
        let again = "an A-ASSOCIATE-RQ came within an association";
        families.push(aborted(format!("a second request {point}"), then(&request), UNEXPECTED_PDU, again));
        families.push(Family::associated(format!("an abort {point}"), then(&A_ABORT), Gone("the peer aborted")));
        let gone: [(&str, Ending); 3] =
            [("a close", Ending::Closes), ("a half-close", Ending::HalfCloses), ("a reset", Ending::Resets)];
        for (how, ending) in gone {
            let expected: Expected = Gone("the connection");
            families.push(Family::associated(format!("{how} {point}"), bytes.clone(), expected).ending(ending));
        }
    }
    families
}
