//! Valid conversations with one byte changed, for every byte of them. What each comes to is not foretold: the judge of all
//! conversations sees that nothing is half stored, nothing silent, and nothing said twice.

use super::Expected::Judged;
use super::{Ending, Family, STUDY, fresh_uid};
use crate::scripted_peer::{
    COMMAND_LAST, DATA_LAST, MR_IMAGE_STORAGE, STANDARD_CONTEXTS, associate_rq, dataset, p_data, store_rq,
};

/// Bytes of a data set's PDU that hold its headers and identifying elements.
const INTERESTING_DATA_BYTES: usize = 170;

pub fn families() -> Vec<Family> {
    let mut families = Vec::new();
    let request = associate_rq("FCDD", "HOSTILE", &STANDARD_CONTEXTS);
    for (position, bytes) in changed(&request, request.len()) {
        let name = format!("a request with byte {position} changed to {:02X}H", bytes[position]);
        families.push(Family::stranger(name, bytes, Judged).ending(Ending::HalfCloses));
    }
    let template = store_rq(MR_IMAGE_STORAGE, &fresh_uid());
    let command_bytes = p_data(&[(1, COMMAND_LAST, &template)]).len();
    for position in 0..command_bytes {
        let (uid, data) = object();
        let command = p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, &uid))]);
        let Some(command) = change(&command, position) else { continue };
        let name = format!("a command with byte {position} changed to {:02X}H", command[position]);
        let bytes = [command, p_data(&[(1, DATA_LAST, &data)])].concat();
        families.push(Family::of_object(name, bytes, (uid, data), Judged).ending(Ending::HalfCloses));
    }
    for position in 0..INTERESTING_DATA_BYTES {
        let (uid, data) = object();
        let command = p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, &uid))]);
        let Some(data_pdu) = change(&p_data(&[(1, DATA_LAST, &data)]), position) else { continue };
        let name = format!("a data set with byte {position} changed to {:02X}H", data_pdu[position]);
        // PDU header (6 bytes), length, context id and message control header of the value (6 bytes).
        let data = data_pdu[12..].to_vec();
        let bytes = [command, data_pdu].concat();
        families.push(Family::of_object(name, bytes, (uid, data), Judged).ending(Ending::HalfCloses));
    }
    families
}

fn object() -> (String, Vec<u8>) {
    let uid = fresh_uid();
    let data = dataset(&uid, STUDY, 64);
    (uid, data)
}

/// Each of the first bytes changed, by itself.
fn changed(bytes: &[u8], first: usize) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..first).filter_map(|position| change(bytes, position).map(|changed| (position, changed)))
}

/// All bits set, all cleared, or the next value, by the place.
fn change(bytes: &[u8], position: usize) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let byte = bytes.get_mut(position)?;
    let new = match position % 3 {
        0 => 0xFF,
        1 => 0x00,
        _ => byte.wrapping_add(1),
    };
    *byte = if new == *byte { byte.wrapping_add(1) } else { new };
    Some(bytes)
}
