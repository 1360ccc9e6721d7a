//! What is not DICOM, or breaks its rules, is answered with an A-ABORT and a receipt that says why; the next
//! peer is served as if nothing had been.

use crate::scripted_peer::*;

/// Sends bytes on a fresh connection and gives the answer and the receipt's sentence.
async fn provoke(bytes: &[u8]) -> (Answer, String) {
    let receiver = Receiver::start("").await;
    let mut peer = Peer::connect(receiver.address).await;
    peer.send(bytes).await;
    let answer = peer.answer().await;
    drop(peer);
    (answer, receiver.receipt().await.why)
}

/// The same within an association.
async fn provoke_associated(bytes: &[u8]) -> (Answer, String) {
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    peer.send(bytes).await;
    let answer = peer.answer().await;
    drop(peer);
    let receipt = receiver.receipt().await;
    assert_eq!(receipt.outcome.as_deref(), Some("aborted_by_us"));
    assert!(receiver.files("studies").is_empty() && receiver.files("incoming").is_empty());
    // The listener lives on.
    Peer::associated(receiver.address).await.release().await;
    (answer, receipt.why)
}

#[tokio::test]
async fn an_http_request_is_recognised() {
    let (answer, why) = provoke(b"GET /dicom-web/studies HTTP/1.1\r\nHost: fcdd\r\n\r\n").await;
    assert_eq!(answer.abort(), (2, 1), "unrecognized PDU");
    assert!(why.contains("HTTP request"), "{why}");
}

#[tokio::test]
async fn random_bytes_are_no_dicom() {
    let (answer, why) = provoke(&[0x9D, 0x13, 0x77, 0x00, 0xFE, 0x01, 0x02, 0x03]).await;
    assert_eq!(answer.abort(), (2, 1));
    assert!(why.contains("not DICOM"), "{why}");
}

#[tokio::test]
async fn a_length_of_4_gib_is_refused() {
    let (answer, why) = provoke(&[0x01, 0x00, 0xFF, 0xFF, 0xFF, 0xFF]).await;
    assert_eq!(answer.abort(), (2, 6), "invalid PDU parameter");
    assert!(why.contains("4294967295 bytes"), "{why}");
    let (answer, why) = provoke_associated(&[0x04, 0x00, 0xFF, 0xFF, 0xFF, 0xFF]).await;
    assert_eq!(answer.abort(), (2, 6));
    assert!(why.contains("P-DATA-TF PDU of 4294967295 bytes"), "{why}");
}

#[tokio::test]
async fn an_association_request_that_lies_about_its_items_is_refused() {
    let mut request = associate_rq("FCDD", "SCRIPT", &STANDARD_CONTEXTS);
    // The application context item (after 74 bytes) claims to be longer than the PDU.
    request[76..78].copy_from_slice(&[0xFF, 0xFF]);
    let (answer, why) = provoke(&request).await;
    assert_eq!(answer.abort(), (2, 6));
    assert!(why.contains("A-ASSOCIATE-RQ PDU that cannot be read"), "{why}");
}

#[tokio::test]
async fn data_before_an_association_is_unexpected() {
    let (answer, why) = provoke(&p_data(&[(1, COMMAND_LAST, &echo_rq())])).await;
    assert_eq!(answer.abort(), (2, 2), "unexpected PDU");
    assert!(why.contains("a P-DATA-TF came before an association"), "{why}");
}

#[tokio::test]
async fn a_dataset_before_its_command_is_refused() {
    let (answer, why) = provoke_associated(&p_data(&[(1, DATA_LAST, &dataset("1.2.3", "1.2", 10))])).await;
    assert_eq!(answer.abort(), (2, 5), "unexpected PDU parameter");
    assert!(why.contains("data set bytes came where a command must be"), "{why}");
}

#[tokio::test]
async fn a_context_that_was_not_accepted_carries_nothing() {
    let (answer, why) = provoke_associated(&p_data(&[(5, COMMAND_LAST, &echo_rq())])).await;
    assert_eq!(answer.abort(), (2, 6));
    assert!(why.contains("presentation context 5, which was not accepted"), "{why}");
}

#[tokio::test]
async fn a_message_stays_on_its_context() {
    let command = store_rq(MR_IMAGE_STORAGE, "1.2.3");
    let bytes = p_data(&[(1, COMMAND_LAST, &command), (3, DATA_LAST, &dataset("1.2.3", "1.2", 10))]);
    let (answer, why) = provoke_associated(&bytes).await;
    assert_eq!(answer.abort(), (2, 6));
    assert!(why.contains("began on presentation context 1 and went on on 3"), "{why}");
}

#[tokio::test]
async fn a_second_command_in_place_of_the_dataset_is_refused() {
    let command = store_rq(MR_IMAGE_STORAGE, "1.2.3");
    let (answer, why) = provoke_associated(&p_data(&[(1, COMMAND_LAST, &command), (1, COMMAND_LAST, &command)])).await;
    assert_eq!(answer.abort(), (2, 5));
    assert!(why.contains("a command came where a data set must be") && why.contains("object 1.2.3"), "{why}");
}

#[tokio::test]
async fn a_command_without_end_is_cut() {
    let fragment = [0; 16_000];
    let many = [(1, COMMAND_MORE, fragment.as_slice()); 5].map(|value| p_data(&[value])).concat();
    let (answer, why) = provoke_associated(&many).await;
    assert_eq!(answer.abort(), (0, 0), "by the application");
    assert!(why.contains("a command is longer than 65536 bytes"), "{why}");
}

#[tokio::test]
async fn a_broken_command_is_refused() {
    let (answer, why) = provoke_associated(&p_data(&[(1, COMMAND_LAST, &[0xFF; 40])])).await;
    assert_eq!(answer.abort(), (2, 6));
    assert!(why.contains("a command cannot be read"), "{why}");
}

#[tokio::test]
async fn a_release_in_the_middle_of_a_message_is_unexpected() {
    let command = p_data(&[(1, COMMAND_LAST, &store_rq(MR_IMAGE_STORAGE, "1.2.3"))]);
    let (answer, why) = provoke_associated(&[command.as_slice(), &A_RELEASE_RQ].concat()).await;
    assert_eq!(answer.abort(), (2, 2));
    assert!(why.contains("an A-RELEASE-RQ came in the middle of a message"), "{why}");
}

#[tokio::test]
async fn other_services_are_answered_or_aborted_as_dimse_says() {
    let receiver = Receiver::start("").await;
    let mut peer = Peer::associated(receiver.address).await;
    peer.send(&p_data(&[(1, COMMAND_LAST, &find_rq(0x0101))])).await;
    assert_eq!(peer.answer().await.status().0, 0x0211, "unrecognized operation");
    peer.send(&p_data(&[(3, COMMAND_LAST, &echo_rq())])).await;
    assert_eq!(peer.answer().await.status().0, 0x0000);
    peer.send(&p_data(&[(1, COMMAND_LAST, &echo_rq())])).await;
    assert_eq!(peer.answer().await.status().0, 0x0122, "C-ECHO on a storage context");
    peer.send(&p_data(&[(1, COMMAND_LAST, &find_rq(0x0001))])).await;
    assert_eq!(peer.answer().await.abort().0, 2);
}

#[tokio::test]
async fn a_port_check_leaves_no_receipt() {
    let receiver = Receiver::start("").await;
    for _ in 0..3 {
        drop(Peer::connect(receiver.address).await);
    }
    Peer::associated(receiver.address).await.release().await;
    assert_eq!(receiver.receipts(1).await.len(), 1);
}
