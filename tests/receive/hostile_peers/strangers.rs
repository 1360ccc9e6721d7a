//! What is no DICOM, and PDUs that may not come, claim too much, or contradict themselves.

use super::Expected::{Abort, Gone, Unseen};
use super::{Ending, Family};
use crate::scripted_peer::{A_ABORT, A_RELEASE_RQ, STANDARD_CONTEXTS, associate_rq, echo_rq, item, p_data, pdu};

const UNRECOGNIZED_PDU: (u8, u8) = (2, 1);
const UNEXPECTED_PDU: (u8, u8) = (2, 2);
const INVALID_PARAMETER: (u8, u8) = (2, 6);

/// PDU types and the names that a line has for them.
const PDU_NAMES: [(u8, &str); 7] = [
    (0x01, "announces a A-ASSOCIATE-RQ PDU of 4294967295 bytes"),
    (0x02, "announces a A-ASSOCIATE-AC PDU of 4294967295 bytes"),
    (0x03, "announces a A-ASSOCIATE-RJ PDU of 4294967295 bytes"),
    (0x04, "announces a P-DATA-TF PDU of 4294967295 bytes"),
    (0x05, "announces a A-RELEASE-RQ PDU of 4294967295 bytes"),
    (0x06, "announces a A-RELEASE-RP PDU of 4294967295 bytes"),
    (0x07, "announces a A-ABORT PDU of 4294967295 bytes"),
];

pub fn families() -> Vec<Family> {
    let mut families = other_protocols();
    families.extend(unknown_types());
    families.extend(too_long());
    families.extend(out_of_place());
    families.extend(broken_values());
    families
}

fn other_protocols() -> Vec<Family> {
    // TLS record (handshake, version 3.1, 47 bytes), handshake (ClientHello, 43 bytes, version 3.3), random.
    let tls = [&[0x16, 0x03, 0x01, 0x00, 0x2F, 0x01, 0x00, 0x00, 0x2B, 0x03, 0x03], [0xA5; 41].as_slice()].concat();
    let noise: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    let http = "it looks like an HTTP request";
    let unknown = "this is not DICOM: unknown PDU type";
    [
        ("an HTTP request", b"GET /dicom-web/studies HTTP/1.1\r\nHost: fcdd\r\n\r\n".to_vec(), http),
        (
            "an HTTP upload",
            [b"POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n", [b'x'; 60_000].as_slice()].concat(),
            http,
        ),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), http),
        ("a TLS hello", tls, "it looks like a TLS handshake"),
        ("an SSH client", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), "it looks like an SSH client"),
        ("SMTP", b"EHLO scanner.example\r\n".to_vec(), unknown),
        ("HL7 by MLLP", b"\x0BMSH|^~\\&|RIS|HOSPITAL\r\x1C\r".to_vec(), unknown),
        ("a file instead of a protocol", [[0; 128].as_slice(), b"DICM"].concat(), unknown),
        ("noise", noise, unknown),
        ("control characters", b"\x1b[2J\x1b[H\n\nWARN all is well\n".to_vec(), unknown),
    ]
    .map(|(name, bytes, why)| Family::stranger(name, bytes, Abort(UNRECOGNIZED_PDU, why)))
    .into()
}

fn unknown_types() -> Vec<Family> {
    let types = [0x00, 0x08, 0x09, 0x10, 0x21, 0x7F, 0x80, 0xFF];
    let of = |pdu_type: u8| {
        let bytes = pdu(pdu_type, &[0; 4]);
        let expected = Abort(UNRECOGNIZED_PDU, "unknown PDU type");
        [
            Family::stranger(format!("PDU type {pdu_type:02X}H"), bytes.clone(), expected.clone()),
            Family::associated(format!("PDU type {pdu_type:02X}H within an association"), bytes, expected),
        ]
    };
    types.into_iter().flat_map(of).collect()
}

fn too_long() -> Vec<Family> {
    let mut families = Vec::new();
    for (pdu_type, why) in PDU_NAMES {
        let bytes: [u8; 8] = [pdu_type, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x01];
        let expected = Abort(INVALID_PARAMETER, why);
        families.push(Family::stranger(format!("4 GiB of PDU type {pdu_type:02X}H"), bytes, expected.clone()));
        families.push(Family::associated(format!("4 GiB of type {pdu_type:02X}H, associated"), bytes, expected));
    }
    // A byte more than the Maximum Length that was announced.
    let just_too_long: [u8; 6] = [0x04, 0x00, 0x00, 0x02, 0x00, 0x01];
    let expected = Abort(INVALID_PARAMETER, "announces a P-DATA-TF PDU of 131073 bytes, at most 131072 are allowed");
    families.push(Family::associated("a P-DATA-TF just too long", just_too_long, expected));
    let expected = Abort(INVALID_PARAMETER, "announces a A-ASSOCIATE-RQ PDU of 131073 bytes, at most 131072");
    let just_too_long: [u8; 6] = [0x01, 0x00, 0x00, 0x02, 0x00, 0x01];
    families.push(Family::stranger("a request just too long", just_too_long, expected));
    families
}

fn out_of_place() -> Vec<Family> {
    // Version 1, AE titles, then nothing but an application context.
    let accept = pdu(0x02, &[&[0, 1, 0, 0], [b' '; 64].as_slice(), &item(0x10, b"1.2.840.10008.3.1.1.1")].concat());
    let reject = pdu(0x03, &[0, 1, 1, 1]); // permanent, user, no reason
    let release_rp = pdu(0x06, &[0; 4]);
    let data = p_data(&[(3, 0x03, &echo_rq())]);
    let request = associate_rq("FCDD", "HOSTILE", &STANDARD_CONTEXTS);
    let early = "came before an association was requested";
    let late = "came within an association";
    let mut families = vec![
        Family::stranger("data before an association", data, Abort(UNEXPECTED_PDU, early)),
        Family::stranger("an acceptance first", accept.clone(), Abort(UNEXPECTED_PDU, early)),
        Family::stranger("a rejection first", reject.clone(), Abort(UNEXPECTED_PDU, early)),
        Family::stranger("a release first", A_RELEASE_RQ, Abort(UNEXPECTED_PDU, early)),
        Family::stranger("a release response first", release_rp.clone(), Abort(UNEXPECTED_PDU, early)),
        Family::associated("a second request", request, Abort(UNEXPECTED_PDU, late)),
        Family::associated("an acceptance", accept, Abort(UNEXPECTED_PDU, late)),
        Family::associated("a rejection", reject, Abort(UNEXPECTED_PDU, late)),
        Family::associated("a release response", release_rp, Abort(UNEXPECTED_PDU, late)),
        Family::stranger("a port check", Vec::new(), Unseen).ending(Ending::Closes),
        Family::stranger("a port check that half-closes", Vec::new(), Unseen).ending(Ending::HalfCloses),
        Family::stranger("a port check that resets", Vec::new(), Unseen).ending(Ending::Resets),
    ];
    // However an A-ABORT is written, it is one, and nothing is answered to it.
    let aborts: [(&str, Vec<u8>); 5] = [
        ("an A-ABORT", A_ABORT.to_vec()),
        ("an A-ABORT of the provider", pdu(0x07, &[0, 0, 2, 6])),
        ("an A-ABORT with an unknown reason", pdu(0x07, &[0, 0, 2, 99])),
        ("an A-ABORT with an unknown source", pdu(0x07, &[0, 0, 77, 0])),
        ("an A-ABORT without a body", pdu(0x07, &[])),
    ];
    for (name, bytes) in aborts {
        families.push(Family::stranger(format!("{name} first"), bytes.clone(), Gone("the peer aborted")));
        families.push(Family::associated(name, bytes, Gone("the peer aborted")));
    }
    families
}

/// PDUs whose content contradicts their length.
fn broken_values() -> Vec<Family> {
    let expected = |why| Abort(INVALID_PARAMETER, why);
    let first = "the presentation data value at byte 7";
    let mut families = vec![
        Family::associated("a P-DATA-TF without a value", pdu(0x04, &[]), expected("a P-DATA-TF without a value")),
        Family::associated("a value of 0 bytes", pdu(0x04, &[0, 0, 0, 0]), expected(first)),
        Family::associated("a value of 1 byte", pdu(0x04, &[0, 0, 0, 1, 1]), expected(first)),
        Family::associated("a value that is too long", pdu(0x04, &[0, 0, 0, 9, 1, 3, 0, 0]), expected(first)),
        Family::associated("a value of 4 GiB", pdu(0x04, &[0xFF, 0xFF, 0xFF, 0xFF, 1, 3, 0]), expected(first)),
        Family::associated(
            "a second value that is too long",
            pdu(0x04, &[0, 0, 0, 4, 1, 1, 0, 0, 0, 0, 0, 5, 1, 3, 0, 0]),
            expected("the presentation data value at byte 15 claims 5 bytes, 4 are left"),
        ),
        Family::associated(
            "a release without a body",
            pdu(0x05, &[]),
            expected("its fixed fields take 4 bytes, it has 0"),
        ),
        Family::associated("a release of 3 bytes", pdu(0x05, &[0; 3]), expected("its fixed fields take 4 bytes")),
        Family::associated(
            "a rejection of an unknown kind",
            pdu(0x03, &[0, 9, 9, 9]),
            expected("result 9, source 9, reason 9"),
        ),
    ];
    for stray in 1..4 {
        let body = [[0, 0, 0, 2, 1, 1].as_slice(), &[0; 3][..stray]].concat();
        let name = format!("{stray} stray bytes behind a value");
        families.push(Family::associated(name, pdu(0x04, &body), expected("stray bytes at the end of the PDU")));
    }
    families
}
