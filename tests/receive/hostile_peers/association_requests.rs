//! A-ASSOCIATE-RQ PDUs: items of every type too short, too long, empty, misplaced; ids, names and versions that cannot be.

use super::Expected::{Abort, Accepted, Rejected};
use super::{Expected, Family};
use crate::scripted_peer::{EXPLICIT_LE, MR_IMAGE_STORAGE, item, pdu};

const APPLICATION_CONTEXT: &[u8] = b"1.2.840.10008.3.1.1.1";
const INVALID_PARAMETER: (u8, u8) = (2, 6);

pub fn families() -> Vec<Family> {
    let mut families = fixed_fields();
    families.extend(lying_lengths());
    families.extend(empty_and_short_items());
    families.extend(misplaced_and_unknown_items());
    families.extend(names_and_numbers());
    families
}

/// Version 1, reserved, AE titles, reserved (PS3.8 table 9-11).
fn head(called: &[u8], calling: &[u8]) -> Vec<u8> {
    let padded = |title: &[u8]| [title, &[b' '; 16][title.len()..]].concat();
    [&[0x00, 0x01, 0x00, 0x00], padded(called).as_slice(), &padded(calling), &[0; 32]].concat()
}

fn request(items: &[Vec<u8>]) -> Vec<u8> {
    pdu(0x01, &[head(b"FCDD", b"HOSTILE"), items.concat()].concat())
}

fn application_context() -> Vec<u8> {
    item(0x10, APPLICATION_CONTEXT)
}

/// Context id, three reserved bytes, sub-items.
fn context(id: u8, sub_items: &[Vec<u8>]) -> Vec<u8> {
    item(0x20, &[&[id, 0, 0, 0], sub_items.concat().as_slice()].concat())
}

fn mr() -> Vec<Vec<u8>> {
    vec![item(0x30, MR_IMAGE_STORAGE.as_bytes()), item(0x40, EXPLICIT_LE.as_bytes())]
}

fn maximum_length() -> Vec<u8> {
    item(0x51, &65_536_u32.to_be_bytes())
}

/// An item whose length field says something else.
fn lying(item_type: u8, claimed: u16, value: &[u8]) -> Vec<u8> {
    [&[item_type, 0], claimed.to_be_bytes().as_slice(), value].concat()
}

/// A request with one sub-item more in its presentation context or its user information.
fn with_sub_item(item_type: u8, sub_item: Vec<u8>) -> Vec<u8> {
    if item_type < 0x50 {
        let sub_items =
            if item_type == 0x30 { vec![sub_item] } else { vec![item(0x30, MR_IMAGE_STORAGE.as_bytes()), sub_item] };
        return request(&[application_context(), context(1, &sub_items), item(0x50, &maximum_length())]);
    }
    let user_information = if item_type == 0x51 { sub_item } else { [maximum_length(), sub_item].concat() };
    request(&[application_context(), context(1, &mr()), item(0x50, &user_information)])
}

fn unreadable(name: impl Into<String>, bytes: Vec<u8>, why: &'static str) -> Family {
    Family::stranger(name, bytes, Abort(INVALID_PARAMETER, why))
}

fn fixed_fields() -> Vec<Family> {
    let whole = head(b"FCDD", b"HOSTILE");
    let short = "its fixed fields take 68 bytes";
    let mut families: Vec<Family> =
        [0, 1, 10, 36, 67].map(|n| unreadable(format!("a request of {n} bytes"), pdu(0x01, &whole[..n]), short)).into();
    families.push(unreadable("a request without items", pdu(0x01, &whole), "the PDU has no Application Context item"));
    for stray in 1..4 {
        let bytes = pdu(0x01, &[whole.as_slice(), &[0x10; 3][..stray]].concat());
        families.push(unreadable(format!("{stray} stray bytes"), bytes, "stray bytes at the end of the PDU"));
    }
    families
}

fn lying_lengths() -> Vec<Family> {
    let mut families = Vec::new();
    let why = |item_type| match item_type {
        0x10 => "the Application Context item (10H) at byte 75 claims",
        0x20 => "the Presentation Context item (20H) at byte 100 claims",
        0x50 => "the User Information item (50H) at byte",
        0x30 => "the Abstract Syntax item (30H) at byte 108 claims",
        0x40 => "the Transfer Syntax item (40H) at byte 137 claims",
        0x51 => "the Maximum Length item (51H) at byte",
        0x52 => "the Implementation Class UID item (52H) at byte",
        0x53 => "the Asynchronous Operations Window item (53H) at byte",
        0x54 => "the SCP/SCU Role Selection item (54H) at byte",
        0x55 => "the Implementation Version Name item (55H) at byte",
        0x56 => "the SOP Class Extended Negotiation item (56H) at byte",
        0x57 => "the SOP Class Common Extended Negotiation item (57H) at byte",
        _ => "the User Identity item (58H) at byte",
    };
    for claimed in [5, 0x0100, 0x7FFF, 0xFFFF] {
        let lie = |item_type| lying(item_type, claimed, &[b'1'; 4]);
        let name = |item_type: u8| format!("item {item_type:02X}H of 4 bytes that claims {claimed}");
        families.push(unreadable(name(0x10), request(&[lie(0x10)]), why(0x10)));
        families.push(unreadable(name(0x20), request(&[application_context(), lie(0x20)]), why(0x20)));
        families.push(unreadable(name(0x50), request(&[application_context(), lie(0x50)]), why(0x50)));
        for item_type in [0x30, 0x40].into_iter().chain(0x51..=0x58) {
            // The items around are right: only the sub-item reaches beyond its parent.
            families.push(unreadable(name(item_type), with_sub_item(item_type, lie(item_type)), why(item_type)));
        }
    }
    families
}

fn empty_and_short_items() -> Vec<Family> {
    let mut families = Vec::new();
    for length in 0..4 {
        let bytes = request(&[application_context(), item(0x20, &[1, 0, 0, 0][..length])]);
        let why = "the Presentation Context item (20H) at byte 100 has";
        families.push(unreadable(format!("a presentation context of {length} bytes"), bytes, why));
    }
    for length in [0, 1, 2, 3, 5, 8] {
        let bytes = with_sub_item(0x51, item(0x51, &[0; 8][..length]));
        families.push(unreadable(format!("a maximum length of {length} bytes"), bytes, "4 were expected"));
    }
    let bytes = request(&[application_context(), context(1, &[])]);
    families.push(unreadable("a context of nothing", bytes, "has no Abstract Syntax item (30H)"));
    let bytes = request(&[application_context(), context(1, &mr()[1..])]);
    families.push(unreadable("a context without a class", bytes, "has no Abstract Syntax item (30H)"));
    // A UID that is a byte short in its length: the byte that is left over is taken for the next item.
    for (item_type, value) in [(0x30, MR_IMAGE_STORAGE), (0x40, EXPLICIT_LE)] {
        let short = lying(item_type, value.len() as u16 - 1, value.as_bytes());
        let name = format!("item {item_type:02X}H that is a byte short");
        families.push(unreadable(
            name,
            with_sub_item(item_type, short),
            "the Presentation Context item (20H) at byte 100",
        ));
    }
    for stray in 1..4 {
        let bytes = request(&[application_context(), item(0x50, &[maximum_length(), vec![0x52; stray]].concat())]);
        let why = "the User Information item (50H) at byte 100, too few for an item's header";
        families.push(unreadable(format!("{stray} stray bytes in the user information"), bytes, why));
    }
    // Nothing in these is needed to store anything.
    for item_type in [0x30, 0x40].into_iter().chain(0x52..=0x59) {
        let name = format!("item {item_type:02X}H of 0 bytes");
        families.push(Family::stranger(name, with_sub_item(item_type, item(item_type, &[])), Accepted));
    }
    let bytes = request(&[application_context(), context(1, &mr()), item(0x50, &[])]);
    families.push(Family::stranger("no user information", bytes, Accepted));
    families.push(Family::stranger("no context", request(&[application_context()]), Accepted));
    families
}

fn misplaced_and_unknown_items() -> Vec<Family> {
    let mut families = Vec::new();
    for item_type in [0x21, 0x30, 0x40, 0x51, 0x58] {
        let bytes = request(&[application_context(), item(item_type, b"1.2")]);
        families.push(unreadable(format!("item {item_type:02X}H at the top"), bytes, "may not stand in the PDU"));
    }
    for item_type in [0x10, 0x20, 0x50, 0x51] {
        let bytes = request(&[application_context(), context(1, &[item(item_type, b"1.2"), mr().concat()])]);
        let why = "may not stand in the Presentation Context item (20H) at byte 100";
        families.push(unreadable(format!("item {item_type:02X}H in a context"), bytes, why));
    }
    for item_type in [0x10, 0x20, 0x30, 0x40, 0x50] {
        let bytes = request(&[application_context(), item(0x50, &item(item_type, b"1.2"))]);
        let why = "may not stand in the User Information item (50H) at byte 100";
        families.push(unreadable(format!("item {item_type:02X}H in the user information"), bytes, why));
    }
    // PS3.8 section 9.3.1: items of unrecognized types are ignored and skipped.
    for item_type in [0x00, 0x11, 0x60, 0x7F, 0xFF] {
        let strange = item(item_type, b"whatever");
        let sub_items = [strange.clone(), mr().concat()];
        let user_information = item(0x50, &[maximum_length(), strange.clone()].concat());
        let bytes = request(&[strange, application_context(), context(1, &sub_items), user_information]);
        families.push(Family::stranger(format!("items of unknown type {item_type:02X}H"), bytes, Accepted));
    }
    // An identity of a type that nobody knows (PS3.7 table D.3-14): type, response wanted, two empty fields.
    families.push(Family::stranger(
        "a strange identity",
        with_sub_item(0x58, item(0x58, &[99, 1, 0, 0, 0, 0])),
        Accepted,
    ));
    let filling: Vec<Vec<u8>> = std::iter::repeat_n(item(0x60, &[0; 60_000]), 2).collect();
    let bytes = request(&[vec![application_context()], filling].concat());
    families.push(Family::stranger("120 KB of nothing", bytes, Accepted));
    families
}

fn names_and_numbers() -> Vec<Family> {
    const VERSION: (u8, u8, u8) = (1, 2, 2);
    const CONTEXT_NAME: (u8, u8, u8) = (1, 1, 2);
    const CALLED: (u8, u8, u8) = (1, 1, 7);
    const CALLING: (u8, u8, u8) = (1, 1, 3);
    const NO_REASON: (u8, u8, u8) = (1, 2, 1);
    let items = [application_context(), context(1, &mr()), item(0x50, &maximum_length())].concat();
    let named = |called: &[u8], calling: &[u8]| pdu(0x01, &[head(called, calling), items.clone()].concat());
    let version = |version: u8| {
        let mut bytes = request(std::slice::from_ref(&items));
        bytes[7] = version; // the second byte behind the header
        bytes
    };
    let ids = |ids: &[u8]| {
        let contexts = ids.iter().map(|id| context(*id, &mr()));
        request(&[vec![application_context()], contexts.collect()].concat())
    };
    let odd: Vec<u8> = (0..128).map(|n| 2 * n + 1).collect();
    let called = "is not ours (receive.ae_title, receive.called_ae_titles)";
    let calling = "is not allowed (receive.allowed_calling_ae_titles)";
    let rejected = |name: &str, bytes: Vec<u8>, answer, why| Family::stranger(name, bytes, Rejected(answer, why));
    vec![
        rejected("protocol version 0", version(0), VERSION, "does not include version 1"),
        rejected("protocol version 2", version(2), VERSION, "does not include version 1"),
        Family::stranger("protocol versions 1 and 2", version(3), Expected::Accepted),
        rejected("no name of the application", request(&[item(0x10, b"")]), CONTEXT_NAME, "is not DICOM's"),
        rejected("another application", request(&[item(0x10, b"1.2.3")]), CONTEXT_NAME, "\"1.2.3\" is not DICOM's"),
        rejected(
            "an application with a name of 60 KB",
            request(&[item(0x10, &[0x1B; 60_000])]),
            CONTEXT_NAME,
            "\\u{1b}",
        ),
        rejected("called otherwise", named(b"OTHER", b"HOSTILE"), CALLED, called),
        rejected("called nothing", named(b"", b"HOSTILE"), CALLED, called),
        rejected("called by control characters", named(b"FCDD\x1b[2J\n", b"HOSTILE"), CALLED, "FCDD\\u{1b}[2J"),
        rejected("called in lower case", named(b"fcdd", b"HOSTILE"), CALLED, called),
        rejected("nobody calls", named(b"FCDD", b""), CALLING, calling),
        rejected("an umlaut calls", named(b"FCDD", b"RADIOLOGIE-\xC4"), CALLING, "RADIOLOGIE-\\u{c4}"),
        rejected("a terminal sequence calls", named(b"FCDD", b"\x1b]0;root\x07"), CALLING, "\\u{1b}]0;root"),
        rejected("a line feed calls", named(b"FCDD", b"A\nWARN B"), CALLING, "A\\nWARN B"),
        rejected("an even context id", ids(&[2]), NO_REASON, "presentation context id 2 is even or comes twice"),
        rejected("context id 0", ids(&[1, 0]), NO_REASON, "presentation context id 0"),
        rejected("a context id twice", ids(&[1, 3, 1]), NO_REASON, "presentation context id 1"),
        rejected("a thousand contexts", ids(&[1; 1000]), NO_REASON, "presentation context id 1"),
        Family::stranger("all contexts that there can be", ids(&odd), Accepted),
        Family::stranger("a maximum length of 1", with_sub_item(0x51, item(0x51, &[0, 0, 0, 1])), Accepted),
        Family::stranger("a maximum length of 4 GiB", with_sub_item(0x51, item(0x51, &[0xFF; 4])), Accepted),
        Family::stranger("an implementation of 60 KB", with_sub_item(0x55, item(0x55, &[0x1B; 60_000])), Accepted),
    ]
}
