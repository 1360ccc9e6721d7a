//! UIDs that are none, that would be paths, and that contradict each other: in the command and in the data set.

use super::Expected::{Abort, Refused};
use super::{Family, STUDY, fresh_uid};
use crate::scripted_peer::{COMMAND_LAST, DATA_LAST, MR_IMAGE_STORAGE, command, p_data};

pub fn families() -> Vec<Family> {
    let mut families = in_the_command();
    families.extend(in_the_data_set());
    families.extend(contradictions());
    families
}

/// What no UID may be. Each of them would harm somebody who made a path, a line or a query of it.
fn tricks() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a parent folder", b"..".to_vec()),
        ("the way to a file", b"../../../../etc/passwd".to_vec()),
        ("an absolute path", b"/etc/cron.d/fcdd".to_vec()),
        ("a path behind a UID", b"1.2/../../3".to_vec()),
        ("a NUL in the middle", b"1.2\0.3".to_vec()),
        ("a NUL before a path", b"1.2\0/../x".to_vec()),
        ("65 digits", vec![b'1'; 65]),
        ("66 characters", format!("1.{}", "2".repeat(64)).into_bytes()),
        ("two dots", b"1..2".to_vec()),
        ("a dot first", b".1.2".to_vec()),
        ("a dot last", b"1.2.".to_vec()),
        ("a space in the middle", b"1.2 .3".to_vec()),
        ("letters", b"1.2.abc".to_vec()),
        ("an umlaut in Latin 1", b"1.2.\xC4".to_vec()),
        ("broken UTF-8", b"1.2.\xF0\x9F".to_vec()),
        ("other digits", "1.2.\u{0663}".as_bytes().to_vec()),
        ("a backslash", b"1.2\\1.3".to_vec()),
        ("a line feed", b"1.2\nWARN all is well".to_vec()),
        ("a terminal sequence", b"1.2\x1b[2J".to_vec()),
        ("a query", b"1'; DROP TABLE instances; --".to_vec()),
        ("a format", b"%s%n%2e%2e".to_vec()),
        ("a minus", b"1.-2".to_vec()),
    ]
}

fn store(sop_class: &[u8], sop_instance: &[u8]) -> Vec<u8> {
    let set = command(&[
        (0x0002, &even(sop_class)),    // Affected SOP Class UID
        (0x0100, &[0x01, 0x00]),       // C-STORE-RQ
        (0x0110, &[0x07, 0x00]),       // Message ID
        (0x0700, &[0x00, 0x00]),       // Priority: medium
        (0x0800, &[0x01, 0x00]),       // a data set follows
        (0x1000, &even(sop_instance)), // Affected SOP Instance UID
    ]);
    let fragments = set.chunks(60_000).count();
    let pdus = set.chunks(60_000).enumerate().flat_map(|(n, part)| {
        let control = if n + 1 == fragments { COMMAND_LAST } else { COMMAND_LAST & 0x01 };
        p_data(&[(1, control, part)])
    });
    pdus.collect()
}

/// Class, instance, study, series, and a few pixels, in Explicit VR Little Endian.
fn data_set(uids: [&[u8]; 4]) -> Vec<u8> {
    let tags = [[0x08, 0x00, 0x16, 0x00], [0x08, 0x00, 0x18, 0x00], [0x20, 0x00, 0x0D, 0x00], [0x20, 0x00, 0x0E, 0x00]];
    let mut bytes = Vec::new();
    for (tag, uid) in tags.into_iter().zip(uids) {
        let value = even(uid);
        bytes.extend([tag.as_slice(), b"UI", &(value.len() as u16).to_le_bytes(), &value].concat());
    }
    bytes.extend([0xE0, 0x7F, 0x10, 0x00, b'O', b'W', 0, 0, 4, 0, 0, 0, 1, 2, 3, 4]); // Pixel Data
    bytes
}

fn in_the_command() -> Vec<Family> {
    let mut families = Vec::new();
    for (name, uid) in tricks() {
        let data = data_set([MR_IMAGE_STORAGE.as_bytes(), &uid, STUDY.as_bytes(), b"2.25.666.1"]);
        let instance = [store(MR_IMAGE_STORAGE.as_bytes(), &uid), p_data(&[(1, DATA_LAST, &data)])].concat();
        let why = "is not a DICOM UID (1 to 64 characters";
        families.push(Family::associated(format!("{name} as the command's instance"), instance, Refused(0x0117, why)));
        let class = [store(&uid, fresh_uid().as_bytes()), p_data(&[(1, DATA_LAST, &data)])].concat();
        let why = "SOP class does not belong to the context";
        families.push(Family::associated(format!("{name} as the command's class"), class, Refused(0x0122, why)));
    }
    let long = vec![b'1'; 65_000];
    let bytes = [store(MR_IMAGE_STORAGE.as_bytes(), &long), p_data(&[(1, DATA_LAST, b"")])].concat();
    families.push(Family::associated("65,000 digits", bytes, Refused(0x0117, "is not a DICOM UID")));
    let bytes = store(MR_IMAGE_STORAGE.as_bytes(), &[b'1'; 65_500]);
    families.push(Family::associated("too many digits", bytes, Abort((0, 0), "longer than 65536 bytes")));
    families
}

fn in_the_data_set() -> Vec<Family> {
    let mut families = Vec::new();
    let class = MR_IMAGE_STORAGE.as_bytes();
    for (name, uid) in tricks() {
        let instance = fresh_uid();
        let instance = instance.as_bytes();
        let refused = |where_: &str, uids: [&[u8]; 4], why| {
            let bytes = [store(class, instance), p_data(&[(1, DATA_LAST, &data_set(uids))])].concat();
            Family::associated(format!("{name} as the {where_}"), bytes, Refused(0xC000, why))
        };
        let study = STUDY.as_bytes();
        families.push(refused(
            "data set's class",
            [&uid, instance, study, b"1.2"],
            "SOP Class UID (0008,0016) is wrong",
        ));
        families.push(refused(
            "data set's instance",
            [class, &uid, study, b"1.2"],
            "SOP Instance UID (0008,0018) is wrong",
        ));
        families.push(refused("study", [class, instance, &uid, b"1.2"], "Study Instance UID (0020,000D) is wrong"));
        families.push(refused("series", [class, instance, study, &uid], "Series Instance UID (0020,000E) is wrong"));
    }
    families
}

fn contradictions() -> Vec<Family> {
    const SC: &str = "1.2.840.10008.5.1.4.1.1.7";
    let (one, other) = (fresh_uid(), fresh_uid());
    let mr = MR_IMAGE_STORAGE.as_bytes();
    let whole = |class: &[u8], uids: [&[u8]; 4]| {
        [store(class, one.as_bytes()), p_data(&[(1, DATA_LAST, &data_set(uids))])].concat()
    };
    let (study, series) = (STUDY.as_bytes(), b"2.25.666.1".as_slice());
    vec![
        Family::associated(
            "another instance in the data set",
            whole(mr, [mr, other.as_bytes(), study, series]),
            Refused(0xA900, "SOP instance differs: data set"),
        ),
        Family::associated(
            "another class in the data set",
            whole(mr, [SC.as_bytes(), one.as_bytes(), study, series]),
            Refused(0xA900, "SOP class differs: data set 1.2.840.10008.5.1.4.1.1.7"),
        ),
        Family::associated(
            "another class in the command",
            whole(SC.as_bytes(), [mr, one.as_bytes(), study, series]),
            Refused(0x0122, "SOP class does not belong to the context"),
        ),
        Family::associated(
            "another class in both",
            whole(SC.as_bytes(), [SC.as_bytes(), one.as_bytes(), study, series]),
            Refused(0x0122, "SOP class does not belong to the context"),
        ),
    ]
}

fn even(value: &[u8]) -> Vec<u8> {
    let padding: &[u8] = if value.len() % 2 == 1 { &[0] } else { &[] };
    [value, padding].concat()
}
