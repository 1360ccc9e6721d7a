//! Peers that take their time: before a request, between messages, and within one. The timers are those of
//! `daemon_of_short_waits`.

use std::time::Duration;

use super::Expected::Abort;
use super::{Family, STUDY, Step, fresh_uid};
use crate::scripted_peer::{
    COMMAND_LAST, DATA_MORE, MR_IMAGE_STORAGE, STANDARD_CONTEXTS, associate_rq, dataset, p_data, store_rq,
};

const BY_APPLICATION: (u8, u8) = (0, 0);

pub fn families() -> Vec<Family> {
    let request = associate_rq("FCDD", "HOSTILE", &STANDARD_CONTEXTS);
    let uid = fresh_uid();
    let store = p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, &uid))]);
    let object = p_data(&[(1, DATA_MORE, &dataset(&uid, STUDY, 100_000))]);
    let stranger = |name: &str, bytes: &[u8], why| Family::stranger(name, bytes, Abort(BY_APPLICATION, why));
    let associated = |name: &str, bytes: &[u8], why| Family::associated(name, bytes, Abort(BY_APPLICATION, why));
    let trickle = |family: Family, bytes: &[u8], piece: usize, every_ms: u64| {
        let every = Duration::from_millis(every_ms);
        let mut steps = family.steps;
        steps.push(Step::Trickle { bytes: bytes.to_vec(), piece, every });
        Family { steps, ..family }
    };
    let slow = "the peer sent slower than 1024 bytes per second (receive.min_bytes_per_s), while object";
    vec![
        stranger("a silent connection", &[], "no association request came within 2 s"),
        stranger("a byte, then nothing", &request[..1], "only 1 bytes of a PDU came within 2 s"),
        stranger("half a request, then nothing", &request[..100], "only 100 bytes of a PDU came within 2 s"),
        stranger("all but a byte of a request", &request[..request.len() - 1], "of a PDU came within 2 s"),
        trickle(stranger("a request, byte by byte", &[], "of a PDU came within 2 s"), &request, 1, 25),
        associated("a silent association", &[], "the peer was silent for 2 s (receive.idle_timeout_s)"),
        associated("half a header, then nothing", &store[..3], "the peer left a PDU unfinished for 2 s"),
        associated("half a command, then nothing", &store[..60], "the peer left a PDU unfinished for 2 s"),
        trickle(associated("a command, byte by byte", &[], "left a PDU unfinished for 2 s"), &store, 1, 25),
        associated("a command, then nothing", &store, slow),
        associated("a command and half a value", &[store.as_slice(), &object[..5000]].concat(), slow),
        trickle(associated("an object, byte by byte", &store, slow), &object, 1, 20),
        // Fast enough for the rate, too slow for the whole.
        trickle(
            associated("an object that takes too long", &store, "a message took longer than 13 s"),
            &object,
            1024,
            250,
        ),
    ]
}
