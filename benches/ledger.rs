//! The ledger behind a million past studies: what the workers ask again and again, what people ask, and a start.
//!
//! | row | bar |
//! |---|---|
//! | every query by which a worker claims its next work | p99 ≤ 5 ms |
//! | the newest 50 studies (`fcdd studies list`) | p99 ≤ 5 ms |
//!
//! `past_studies` says what is in the ledger. Each query is asked through the ledger's own code, 1,000 times in turn with
//! the others; a claim is undone between two, which is not timed.
//!
//! `cargo bench --bench ledger -- --studies 1000000 --rounds 1000`

mod past_studies;
#[path = "../tests/support/scripted_peer/mod.rs"]
mod scripted_peer;
#[path = "../tests/support/mod.rs"]
mod support;
mod traffic;

use std::future::Future;
use std::time::{Duration, Instant};

use fcdd::dicom::Uid;
use fcdd::ledger::instances::NewInstance;
use fcdd::ledger::removal::{Due, Place};
use fcdd::ledger::{Ledger, StudyState};
use fcdd::spool::Spool;
use jiff::{SignedDuration, Timestamp};
use past_studies::{BUSY, QUIET};

const BAR: Duration = Duration::from_millis(5);

fn main() {
    let (mut studies, mut rounds) = (1_000_000, 1000);
    traffic::arguments(&mut [("studies", &mut studies), ("rounds", &mut rounds)]);
    let place = tempfile::tempdir_in(traffic::on_a_real_disk()).expect("a temporary directory can be made");
    let path = place.path().join("ledger.sqlite");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let began = Instant::now();
        past_studies::write(&path, studies).await;
        let megabytes = std::fs::metadata(&path).expect("the ledger is there").len() / 1_000_000;
        println!(
            "a ledger with {studies} past studies, {megabytes} MB, written in {:.0} s",
            began.elapsed().as_secs_f64()
        );

        let began = Instant::now();
        let (ledger, damaged) = Ledger::open_or_begin_anew(&path).await.expect("it opens");
        assert_eq!(damaged, None);
        println!("  opened as the daemon opens it: {:.2} s", began.elapsed().as_secs_f64());
        ask(&ledger, rounds).await;
        ledger.close().await;
    });
}

/// What one query took, each time.
struct Row {
    what: &'static str,
    is_claim: bool,
    took: Vec<Duration>,
}

impl Row {
    fn new(what: &'static str, is_claim: bool) -> Row {
        Row { what, is_claim, took: Vec::new() }
    }

    async fn time<T, E: std::fmt::Debug>(&mut self, asked: impl Future<Output = Result<T, E>>) -> T {
        let began = Instant::now();
        let answer = asked.await;
        self.took.push(began.elapsed());
        answer.expect(self.what)
    }

    fn at(&self, share: f64) -> Duration {
        let mut sorted = self.took.clone();
        sorted.sort();
        sorted[((sorted.len() - 1) as f64 * share).round() as usize]
    }
}

async fn ask(ledger: &Ledger, rounds: usize) {
    let mut receiving = Row::new("completion: studies that are being received", true);
    let mut late = Row::new("completion: studies with late images", true);
    let mut claim = Row::new("analysis: claim the next complete study", true);
    let mut when = Row::new("outbox: when the next delivery is due", true);
    let mut due = Row::new("outbox: what is due, of a destination with a backlog", true);
    let mut none_due = Row::new("outbox: what is due, of one that has everything", true);
    let mut not_for_us = Row::new("removal: studies that are not for analysis", true);
    let mut delivered = Row::new("removal: delivered studies", true);
    let mut list = Row::new("studies list: the newest 50", true);
    let mut list_failed = Row::new("studies list --state failed", false);
    let mut show = Row::new("studies show", false);
    let mut overview = Row::new("status", false);
    let mut record = Row::new("receiving: an object's row", false);

    for round in 0..rounds {
        let now = Timestamp::now();
        let before = |days: i64| now - SignedDuration::from_hours(24 * days);
        receiving.time(ledger.studies_in(StudyState::Receiving)).await;
        late.time(ledger.studies_with_late_images()).await;
        let claimed = claim.time(ledger.next_complete()).await.expect("a study is complete");
        ledger.give_back(&claimed.study_uid, "").await.expect("it is given back");
        when.time(ledger.next_due_at(BUSY)).await.expect("something waits");
        assert!(!due.time(ledger.due(BUSY, now, 10_000)).await.is_empty());
        assert!(none_due.time(ledger.due(QUIET, now, 10_000)).await.is_empty());
        not_for_us.time(ledger.due_for_removal(Due::NotForAnalysis(before(2)), Place::BEFORE_THE_FIRST)).await;
        delivered.time(ledger.due_for_removal(Due::Delivered(before(30)), Place::BEFORE_THE_FIRST)).await;
        assert_eq!(list.time(ledger.list_studies(50, None)).await.len(), 50);
        assert_eq!(list_failed.time(ledger.list_studies(50, Some(StudyState::Failed))).await.len(), 50);
        show.time(ledger.show_study(&claimed.study_uid)).await;
        record.time(ledger.record_instance(&object(round))).await;
        if round % 100 == 0 {
            overview.time(ledger.overview()).await;
        }
    }
    println!("  {:<56} {:>8} {:>8} {:>8}", "milliseconds", "median", "p99", "most");
    let rows =
        [receiving, late, claim, when, due, none_due, not_for_us, delivered, list, list_failed, show, record, overview];
    for row in &rows {
        let ms = |share| row.at(share).as_secs_f64() * 1e3;
        let verdict = match (row.is_claim, row.at(0.99) <= BAR) {
            (false, _) => "",
            (true, true) => "  within the bar",
            (true, false) => "  OVER THE BAR of 5 ms",
        };
        println!("  {:<56} {:>8.2} {:>8.2} {:>8.2}{verdict}", row.what, ms(0.5), ms(0.99), ms(1.0));
    }
}

/// An object of a study that is being received.
fn object(number: usize) -> NewInstance {
    let uid = |text: &str| Uid::parse(text).expect("a UID");
    let (study_uid, sop_instance_uid) = (uid("2.25.1"), uid(&format!("2.25.1.1.{number}")));
    NewInstance {
        path: Spool::instance_path(&study_uid, &sop_instance_uid),
        sop_instance_uid,
        study_uid,
        series_uid: uid("2.25.1.1"),
        sop_class_uid: uid(scripted_peer::MR_IMAGE_STORAGE),
        transfer_syntax: scripted_peer::EXPLICIT_LE.to_owned(),
        dataset_bytes: 131_072,
        dataset_sha256: [7; 32],
        calling_ae: "MR1".to_owned(),
        association_id: Some(1),
        received_at_ms: Timestamp::now().as_millisecond(),
    }
}
