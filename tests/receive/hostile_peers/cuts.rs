//! Peers that vanish: a valid conversation cut behind every byte of it, by a close, a half-close or a reset in turn.

use super::Expected::{Gone, Judged, Unseen};
use super::{Ending, Family, STUDY, fresh_uid};
use crate::scripted_peer::{
    COMMAND_LAST, DATA_LAST, DATA_MORE, MR_IMAGE_STORAGE, STANDARD_CONTEXTS, associate_rq, dataset, p_data, store_rq,
};

const WAYS: [Ending; 3] = [Ending::Closes, Ending::HalfCloses, Ending::Resets];

pub fn families() -> Vec<Family> {
    let mut families = request();
    families.extend(message());
    families
}

fn request() -> Vec<Family> {
    let request = associate_rq("FCDD", "HOSTILE", &STANDARD_CONTEXTS);
    (0..=request.len())
        .map(|length| {
            let ending = WAYS[length % 3];
            let expected = if length == 0 { Unseen } else { Gone("the connection") };
            let name = format!("a request cut behind byte {length} ({ending:?})");
            Family::stranger(name, &request[..length], expected).ending(ending)
        })
        .collect()
}

/// A C-STORE in three PDUs: command, a first half of the data set, the rest.
fn message() -> Vec<Family> {
    let pdus = |uid: &str| {
        let data = dataset(uid, STUDY, 40);
        let (half, rest) = data.split_at(data.len() / 2);
        let pdus = [
            p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, uid))]),
            p_data(&[(1, DATA_MORE, half)]),
            p_data(&[(1, DATA_LAST, rest)]),
        ];
        (pdus.concat(), data)
    };
    // Every UID of these is as long as the others, so that every message is.
    let length = pdus(&wide_uid()).0.len();
    let cut = |cut: usize| {
        let uid = wide_uid();
        let (bytes, data) = pdus(&uid);
        let ending = WAYS[cut % 3];
        let name = format!("a C-STORE cut behind byte {cut} of {length} ({ending:?})");
        let expected = if cut < length { Gone("the connection") } else { Judged };
        Family::of_object(name, bytes[..cut].to_vec(), (uid, data), expected).ending(ending)
    };
    let mut families: Vec<Family> = (0..length).map(cut).collect();
    // Whole, and gone before the answer: stored or not, but never half.
    for ending in WAYS {
        let whole = cut(length);
        families.push(Family { name: format!("a whole C-STORE, then gone ({ending:?})"), ..whole }.ending(ending));
    }
    families
}

fn wide_uid() -> String {
    let uid = fresh_uid();
    let (root, number) = uid.rsplit_once('.').expect("a UID has dots");
    format!("{root}.1{number:0>7}")
}
