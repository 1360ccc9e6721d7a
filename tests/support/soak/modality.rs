//! What sends the studies of a soak, with all that goes wrong in a hospital, in a fixed order.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::kill::{Object, Study};
use crate::scripted_peer::{A_ABORT, COMMAND_LAST, DATA_MORE, MR_IMAGE_STORAGE, Peer, p_data, store_rq};

/// Studies between one that lacks a slice and its late slice.
const LATE_BY: usize = 8;

/// Sends one study after the other.
pub struct Modality {
    address: SocketAddr,
    number: u64,
    /// Slices that come late.
    late: VecDeque<(u64, Object)>,
    /// Study Instance UIDs that must have a result.
    pub for_analysis: Vec<String>,
    /// And those that must not.
    pub not_for_analysis: Vec<String>,
    sent: u64,
    late_sent: u64,
    refused: u64,
    broken_off: u64,
}

impl Modality {
    pub fn new(address: SocketAddr) -> Modality {
        Modality {
            address,
            number: 0,
            late: VecDeque::new(),
            for_analysis: Vec::new(),
            not_for_analysis: Vec::new(),
            sent: 0,
            late_sent: 0,
            refused: 0,
            broken_off: 0,
        }
    }

    /// What was sent so far.
    pub fn in_words(&self) -> String {
        format!(
            "studies for analysis {}, others {}; objects sent {}, of these late {}, refused {}, broken off {}",
            self.for_analysis.len(),
            self.not_for_analysis.len(),
            self.sent,
            self.late_sent,
            self.refused,
            self.broken_off
        )
    }

    /// The next study, and a late slice of an earlier one if its time has come.
    pub async fn send_the_next(&mut self) {
        self.number += 1;
        let mut study = Study::new(1_000_000 + self.number);
        if self.number.is_multiple_of(11) {
            self.send_without_pixels(study).await;
            return;
        }
        self.for_analysis.push(study.study_uid.clone());
        if self.number.is_multiple_of(5)
            && let Some(object) = study.objects.pop()
        {
            self.late.push_back((self.number + LATE_BY as u64, object));
        }
        if self.number.is_multiple_of(7) {
            self.break_off(&study.objects[0]).await;
        }
        let mut peer = Peer::associated(self.address).await;
        for object in &study.objects {
            self.store(&mut peer, object, 0x0000).await;
        }
        if self.number.is_multiple_of(3) {
            // The same once more; the same UID with other bytes; an object that is not what its command says.
            self.store(&mut peer, &study.objects[1], 0x0000).await;
            let mut other = study.objects[2].dataset.clone();
            *other.last_mut().expect("it has pixels") ^= 1;
            self.store(&mut peer, &Object::new(&study.objects[2].sop_instance_uid, other), 0x0000).await;
            let misnamed = Object::new("1.2.3.4", study.objects[3].dataset.clone());
            self.store(&mut peer, &misnamed, 0xA900).await;
            self.refused += 1;
        }
        peer.release().await;
        if let Some((_, object)) = self.late.pop_front_if(|(due, _)| *due <= self.number) {
            let mut peer = Peer::associated(self.address).await;
            self.store(&mut peer, &object, 0x0000).await;
            self.late_sent += 1;
            peer.release().await;
        }
    }

    async fn store(&mut self, peer: &mut Peer, object: &Object, expected: u16) {
        let (status, comment) = peer.store(&object.sop_instance_uid, &object.dataset).await.status();
        assert_eq!(status, expected, "{}: {comment}", object.sop_instance_uid);
        self.sent += 1;
    }

    /// A study of one object that is no image.
    async fn send_without_pixels(&mut self, study: Study) {
        const PIXEL_DATA: [u8; 4] = [0xE0, 0x7F, 0x10, 0x00];
        let object = &study.objects[0];
        let end = object.dataset.windows(4).position(|bytes| bytes == PIXEL_DATA).expect("it has pixels");
        let mut peer = Peer::associated(self.address).await;
        self.store(&mut peer, &Object::new(&object.sop_instance_uid, object.dataset[..end].to_vec()), 0x0000).await;
        peer.release().await;
        self.not_for_analysis.push(study.study_uid);
    }

    /// A-ABORT in the middle of an object.
    async fn break_off(&mut self, object: &Object) {
        let mut peer = Peer::associated(self.address).await;
        peer.send(&p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, &object.sop_instance_uid))])).await;
        peer.send(&p_data(&[(1, DATA_MORE, &object.dataset[..object.dataset.len() / 2])])).await;
        peer.send(&A_ABORT).await;
        self.broken_off += 1;
    }
}
