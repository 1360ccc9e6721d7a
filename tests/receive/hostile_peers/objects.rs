//! Data sets: fragments of every kind, endless ones, and what lacks its identifying elements.

use super::Expected::{Abort, Refused, Stored};
use super::{Ending, Family, STUDY, fresh_uid};
use crate::scripted_peer::{COMMAND_LAST, DATA_LAST, DATA_MORE, MR_IMAGE_STORAGE, dataset, p_data, store_rq};

pub fn families() -> Vec<Family> {
    let mut families = fragments();
    families.extend(endless());
    families.extend(unidentified());
    families.push(many_refused());
    families
}

/// A C-STORE whose data set comes in these fragments.
fn in_fragments(name: impl Into<String>, cut: impl Fn(&[u8]) -> Vec<(u8, u8, Vec<u8>)>) -> Family {
    let uid = fresh_uid();
    let data = dataset(&uid, STUDY, 3000);
    let mut bytes = p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, &uid))]);
    for (context, control, fragment) in cut(&data) {
        bytes.extend(p_data(&[(context, control, &fragment)]));
    }
    Family::of_object(name, bytes, (uid, data), Stored)
}

/// Unusual, and right: stored whole.
fn fragments() -> Vec<Family> {
    let more = |bytes: &[u8]| (1, DATA_MORE, bytes.to_vec());
    let last = |bytes: &[u8]| (1, DATA_LAST, bytes.to_vec());
    let mut families = vec![
        in_fragments("an empty value in the middle", |d| vec![more(&d[..1500]), more(&[]), last(&d[1500..])]),
        in_fragments("an empty value first", |d| vec![more(&[]), last(d)]),
        in_fragments("an empty value last", |d| vec![more(d), last(&[])]),
        in_fragments("ten empty values everywhere", |d| {
            let empty = || std::iter::repeat_n(more(&[]), 10);
            empty()
                .chain([more(&d[..7])])
                .chain(empty())
                .chain([more(&d[7..])])
                .chain(empty())
                .chain([last(&[])])
                .collect()
        }),
        in_fragments("a value per byte", |d| d.iter().map(|byte| more(&[*byte])).chain([last(&[])]).collect()),
        in_fragments("values of odd lengths", |d| d.chunks(333).map(more).chain([last(&[])]).collect()),
    ];
    // A PDU of nothing but empty values, as many as go into one; then the object.
    let uid = fresh_uid();
    let data = dataset(&uid, STUDY, 3000);
    let empty = vec![(1, DATA_MORE, [].as_slice()); 131_072 / 6];
    let command = p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, &uid))]);
    let bytes = [command, p_data(&empty), p_data(&[(1, DATA_LAST, &data)])].concat();
    families.push(Family::of_object("21,845 empty values in a PDU", bytes, (uid, data), Stored));
    // The peer says that it will send no more, and still wants its answer.
    let whole = in_fragments("a half-close behind the last value", |d| vec![last(d)]);
    families.push(whole.ending(Ending::HalfCloses));
    families
}

fn endless() -> Vec<Family> {
    // The configuration allows 1 MiB.
    let why = "an object is larger than 1 MiB (receive.max_object_mib)";
    let uid = fresh_uid();
    let command = p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, &uid))]);
    let data = dataset(&uid, STUDY, 3 << 20);
    let identified: Vec<u8> = data.chunks(65_000).flat_map(|part| p_data(&[(1, DATA_MORE, part)])).collect();
    // An unknown private element of undefined length, without end: (0009,1001) UN.
    let private =
        [&[0x09, 0x00, 0x01, 0x10, b'U', b'N', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF], [0; 65_000].as_slice()].concat();
    let zeros = p_data(&[(1, DATA_MORE, &[0; 65_000])]).repeat(20);
    let aborted = |name: &str, data: Vec<u8>| {
        let bytes = [command.clone(), data].concat();
        Family::associated(name, bytes, Abort((0, 0), why))
    };
    vec![
        aborted("an endless object", identified),
        aborted("an endless private element", p_data(&[(1, DATA_MORE, &private)]).repeat(20)),
        aborted("endless zeros", zeros),
    ]
}

/// An element in Explicit VR Little Endian with a short length field.
fn element(group: u16, number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let length = value.len() as u16;
    [group.to_le_bytes(), number.to_le_bytes(), *vr, length.to_le_bytes()]
        .concat()
        .into_iter()
        .chain(value.to_vec())
        .collect()
}

fn unidentified() -> Vec<Family> {
    let uid = fresh_uid();
    let ui = |group, number, value: &str| element(group, number, b"UI", &even(value));
    let class = ui(0x0008, 0x0016, MR_IMAGE_STORAGE);
    let instance = ui(0x0008, 0x0018, &uid);
    let study = ui(0x0020, 0x000D, STUDY);
    let series = ui(0x0020, 0x000E, "2.25.666.1");
    let end = element(0x0028, 0x0010, b"US", &[1, 0]); // Rows
    // A sequence in a sequence, a hundred times, each of undefined length: (0008,1140), item.
    let nested: Vec<u8> = [
        0x08, 0x00, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, // Referenced Image Sequence
        0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF, // item
    ]
    .repeat(100);
    let implicit = [[0x08, 0x00, 0x16, 0x00, 26, 0, 0, 0].as_slice(), MR_IMAGE_STORAGE.as_bytes(), &[0]].concat();
    let wrong: [(&str, Vec<Vec<u8>>, &str); 15] = [
        ("an empty data set", vec![], "the data set ends before SOP Class UID (0008,0016)"),
        ("no SOP class", vec![instance.clone(), study.clone(), series.clone()], "SOP Class UID (0008,0016)"),
        ("no SOP instance", vec![class.clone(), study.clone(), series.clone()], "SOP Instance UID (0008,0018)"),
        ("no study", vec![class.clone(), instance.clone(), series.clone()], "Study Instance UID (0020,000D)"),
        (
            "no series",
            vec![class.clone(), instance.clone(), study.clone(), end.clone()],
            "Series Instance UID (0020,000E)",
        ),
        (
            "the end before the series",
            vec![class.clone(), instance.clone(), study.clone()],
            "the data set ends before Series",
        ),
        (
            "an empty study",
            vec![class.clone(), instance.clone(), ui(0x20, 0xD, ""), series.clone()],
            "Study Instance UID",
        ),
        (
            "an empty series",
            vec![class.clone(), instance.clone(), study.clone(), ui(0x20, 0xE, "")],
            "Series Instance UID",
        ),
        ("elements out of order", vec![study.clone(), series.clone(), class.clone(), instance.clone()], "the data set"),
        ("rubbish", vec![vec![0xFF; 500]], "is not encoded as transfer syntax"),
        ("a file with its preamble", vec![vec![0; 128], b"DICM".to_vec(), class.clone()], "the data set"),
        ("Implicit VR", vec![implicit], "is not encoded as transfer syntax"),
        ("deep nesting", vec![class.clone(), instance.clone(), nested], "nests sequences deeper than"),
        ("a cut header", vec![class.clone(), vec![0x08, 0x00, 0x18]], "the data set ends before SOP Instance"),
        ("a value of 64 KB", vec![class, element(0x08, 0x18, b"UI", &[b'1'; 65_534])], "SOP Instance UID (0008,0018)"),
    ];
    let refused = |(name, parts, why): (&str, Vec<Vec<u8>>, &'static str)| {
        let data = parts.concat();
        let bytes = [p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, &uid))]), p_data(&[(1, DATA_LAST, &data)])]
            .concat();
        Family::associated(name, bytes, Refused(0xC000, why))
    };
    wrong.map(refused).into()
}

/// More refused objects than get a line of their own.
fn many_refused() -> Family {
    const MANY: usize = 150;
    let one = [
        p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "2.25.1"))]),
        p_data(&[(1, DATA_LAST, &dataset("2.25.2", STUDY, 10))]),
    ]
    .concat();
    let why = "SOP instance differs: data set 2.25.2, command 2.25.1";
    Family { answers: MANY, ..Family::associated("150 refused objects", one.repeat(MANY), Refused(0xA900, why)) }
}

fn even(text: &str) -> Vec<u8> {
    let padding = if text.len() % 2 == 1 { "\0" } else { "" };
    [text, padding].concat().into_bytes()
}
