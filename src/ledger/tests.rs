//! The study side of the ledger: moves, the one transaction that ends an analysis, retries, the outbox.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::outbox::{OutboxRow, OutboxStatus};
use super::removal::{Due, Place};
use super::result_record::{DeliveryFacts, ResultObject, ResultRecord};
use super::studies::SeriesVerdictRow;
use super::{Ledger, LedgerError, StudyState};
use crate::dicom::Uid;
use crate::spool::SpoolError;
use crate::study::{ObjectKind, RenderedObject, Selection, Sequence, SeriesVerdict};

const SPOOL: &str = "/spool";

struct Bench {
    ledger: Ledger,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.sqlite")).await.unwrap();
        Bench { ledger, folder }
    }

    /// A study whose last image came `age_s` seconds ago.
    async fn study(&self, uid: &str, state: StudyState, age_s: i64) -> Uid {
        let at = Timestamp::now().as_millisecond() - age_s * 1000;
        sqlx::query(
            "INSERT INTO studies (study_uid, state, first_received_at, last_received_at, state_since)
             VALUES (?1, ?2, ?3, ?3, ?3)",
        )
        .bind(uid)
        .bind(state.name())
        .bind(at)
        .execute(&self.ledger.writer)
        .await
        .unwrap();
        Uid::parse(uid).unwrap()
    }

    async fn state(&self, uid: &Uid) -> StudyState {
        self.ledger.study(uid).await.unwrap().state
    }

    async fn finish(&self, study: &Uid, objects: &[RenderedObject], outbox: &[OutboxRow]) -> StudyState {
        let series = [SeriesVerdictRow {
            series_uid: Uid::parse("1.2.3").unwrap(),
            stack: 0,
            sequence: Sequence::T1,
            because: "TR 2000 ms".into(),
            verdict: SeriesVerdict::SingleSlice,
            chosen: false,
        }];
        let record = ResultRecord { series: series.to_vec(), ..record(study, 1, objects) };
        self.ledger.finish_analysis(&record, outbox).await.unwrap()
    }

    async fn due(&self, destination: &str) -> Vec<String> {
        let due = self.ledger.due(destination, Timestamp::now(), 100).await.unwrap();
        due.into_iter().map(|d| d.sop_instance_uid.to_string()).collect()
    }
}

fn record(study: &Uid, revision: u32, objects: &[RenderedObject]) -> ResultRecord {
    ResultRecord {
        format: ResultRecord::FORMAT,
        study_uid: study.clone(),
        revision,
        looked_at_ms: 0,
        failure: None,
        verdict: "unassessable".into(),
        probability: Some(0.25),
        selection: Selection::default(),
        content_digest: format!("digest {revision}"),
        result: serde_json::json!({ "verdict": "unassessable" }),
        series: Vec::new(),
        objects: ResultObject::of(objects, Path::new(SPOOL)),
        facts: DeliveryFacts { calling_ae: "MR1".into(), study_description: String::new(), untrained: false },
    }
}

fn object(uid: &str) -> RenderedObject {
    RenderedObject {
        kind: ObjectKind::Report,
        sop_class_uid: Uid::parse("1.2.840.10008.5.1.4.1.1.88.34").unwrap(),
        sop_instance_uid: Uid::parse(uid).unwrap(),
        series_uid: Uid::parse("1.2.9").unwrap(),
        path: Path::new(SPOOL).join("results").join(uid),
    }
}

fn row(object: &str, destination: &str, position: u32) -> OutboxRow {
    OutboxRow {
        sop_instance_uid: Uid::parse(object).unwrap(),
        destination: destination.into(),
        position,
        held_because: None,
    }
}

#[tokio::test]
async fn the_ledger_allows_exactly_the_moves_of_the_table() {
    let bench = Bench::new().await;
    for (i, from) in StudyState::ALL.into_iter().enumerate() {
        for (j, to) in StudyState::ALL.into_iter().enumerate() {
            let uid = bench.study(&format!("1.{i}.{j}"), from, 0).await;
            let moved = bench.ledger.move_study(&uid, to, "because").await;
            assert_eq!(moved.is_ok(), from.may_become(to), "{from} -> {to}: {moved:?}");
            let now = if moved.is_ok() { to } else { from };
            assert_eq!(bench.state(&uid).await, now, "{from} -> {to}");
            if let Err(error) = moved {
                assert!(matches!(&error, LedgerError::Move { from: f, .. } if f == from.name()), "{error}");
            }
        }
    }
    let stranger = Uid::parse("9.9").unwrap();
    let error = bench.ledger.move_study(&stranger, StudyState::Complete, "").await.unwrap_err();
    assert!(matches!(error, LedgerError::UnknownStudy { .. }), "{error}");
}

#[tokio::test]
async fn the_oldest_complete_study_is_claimed_once_and_a_restart_gives_it_back() {
    let bench = Bench::new().await;
    bench.study("1.1", StudyState::Complete, 10).await;
    let older = bench.study("1.2", StudyState::Complete, 20).await;
    bench.study("1.3", StudyState::Receiving, 30).await;
    let claimed = bench.ledger.next_complete().await.unwrap().unwrap();
    assert_eq!((claimed.study_uid.clone(), claimed.state, claimed.attempts), (older.clone(), StudyState::Analyzing, 1));
    assert_eq!(bench.ledger.next_complete().await.unwrap().unwrap().study_uid.as_str(), "1.1");
    assert!(bench.ledger.next_complete().await.unwrap().is_none());
    assert_eq!(bench.ledger.restart_unfinished().await.unwrap(), 2);
    let again = bench.ledger.next_complete().await.unwrap().unwrap();
    assert_eq!((again.study_uid, again.attempts), (older, 2), "an analysis that kills the process is counted");
}

#[tokio::test]
async fn a_finished_analysis_is_there_as_a_whole_or_not_at_all() {
    let bench = Bench::new().await;
    let study = bench.study("1.1", StudyState::Analyzing, 0).await;
    let objects = [object("2.1"), object("2.2")];
    let outbox = [row("2.2", "pacs", 1), row("2.1", "pacs", 0)];
    assert_eq!(bench.finish(&study, &objects, &outbox).await, StudyState::Reported);
    assert_eq!(bench.due("pacs").await, ["2.1", "2.2"], "in the order of their positions");
    let shown = bench.ledger.show_study(&study).await.unwrap();
    assert_eq!(shown.study.verdict.as_deref(), Some("unassessable"));
    assert_eq!(shown.study.probability, Some(0.25));
    assert_eq!(shown.objects.len(), 2);
    assert_eq!(shown.objects[0].path, Path::new("results/2.1"), "relative to the spool");
    assert_eq!(shown.verdicts[0].verdict["verdict"], "single_slice");
    assert_eq!(shown.result.unwrap()["verdict"], "unassessable");

    // An outbox row without its object breaks the foreign key: nothing of the rest may stay behind.
    let second = bench.study("1.2", StudyState::Analyzing, 0).await;
    let broken = record(&second, 1, &[object("3.1")]);
    bench.ledger.finish_analysis(&broken, &[row("3.9", "pacs", 0)]).await.unwrap_err();
    assert_eq!(bench.state(&second).await, StudyState::Analyzing);
    assert!(bench.ledger.show_study(&second).await.unwrap().objects.is_empty());

    // A study that is not being analyzed cannot be finished.
    let third = bench.study("1.3", StudyState::Complete, 0).await;
    let error = bench.ledger.finish_analysis(&ResultRecord { study_uid: third, ..broken }, &[]).await;
    assert!(matches!(error, Err(LedgerError::Move { .. })), "{error:?}");
}

#[tokio::test]
async fn a_study_is_delivered_when_nothing_waits_and_says_what_was_refused() {
    let bench = Bench::new().await;
    let study = bench.study("1.1", StudyState::Analyzing, 0).await;
    let held = OutboxRow { held_because: Some("untrained".into()), ..row("2.1", "far", 0) };
    bench.finish(&study, &[object("2.1"), object("2.2")], &[row("2.1", "pacs", 0), row("2.2", "pacs", 1), held]).await;
    let uid = |text: &str| Uid::parse(text).unwrap();
    bench.ledger.record_delivered(&uid("2.1"), "pacs", 0).await.unwrap();
    assert_eq!(bench.ledger.settle_study(&study).await.unwrap(), None);
    bench.ledger.record_refused(&uid("2.2"), "pacs", Some(0xC000), "C000H: cannot understand").await.unwrap();
    let settled = bench.ledger.settle_study(&study).await.unwrap().unwrap();
    assert_eq!((settled.delivered, settled.refused, settled.held), (1, 1, 1));
    let row = bench.ledger.study(&study).await.unwrap();
    assert_eq!(row.state, StudyState::Delivered);
    assert!(row.reason.contains("1 deliveries refused"), "{}", row.reason);
    let counts = bench.ledger.outbox_counts().await.unwrap();
    assert_eq!((counts["pacs"].refused, counts["pacs"].waiting, counts["far"].held), (1, 0, 1));

    let quiet = bench.study("1.2", StudyState::Analyzing, 0).await;
    assert_eq!(bench.finish(&quiet, &[object("4.1")], &[]).await, StudyState::Delivered, "nobody wants it");
}

#[tokio::test]
async fn a_retry_sends_nothing_twice_and_gives_refused_objects_another_chance() {
    let bench = Bench::new().await;
    let study = bench.study("1.1", StudyState::Analyzing, 0).await;
    let objects = [object("2.1"), object("2.2")];
    let rows = [row("2.1", "pacs", 0), row("2.2", "pacs", 1)];
    bench.finish(&study, &objects, &rows).await;
    let uid = |text: &str| Uid::parse(text).unwrap();
    bench.ledger.record_delivered(&uid("2.1"), "pacs", 0).await.unwrap();
    bench.ledger.record_refused(&uid("2.2"), "pacs", Some(0xA900), "no").await.unwrap();
    bench.ledger.settle_study(&study).await.unwrap();

    let retried = bench.ledger.retry_study(&study).await.unwrap();
    assert_eq!((retried.from, retried.deliveries_tried_again), (StudyState::Delivered, 1));
    assert_eq!(bench.due("pacs").await, ["2.2"]);
    let error = bench.ledger.retry_study(&study).await.unwrap_err();
    assert!(matches!(error, LedgerError::Move { .. }), "complete already: {error}");

    // The second analysis renders 2.1 again and 2.3 instead of 2.2.
    bench.ledger.next_complete().await.unwrap().unwrap();
    let rows = [row("2.1", "pacs", 0), row("2.3", "pacs", 1)];
    bench.finish(&study, &[object("2.1"), object("2.3")], &rows).await;
    assert_eq!(bench.due("pacs").await, ["2.3"], "2.1 is there already, 2.2 was superseded");
    let shown = bench.ledger.show_study(&study).await.unwrap();
    let status = |uid: &str| {
        let object = shown.objects.iter().find(|o| o.sop_instance_uid.as_str() == uid).unwrap();
        object.deliveries[0].status
    };
    assert_eq!(status("2.1"), OutboxStatus::Delivered);
    assert_eq!(status("2.2"), OutboxStatus::Held);
}

#[tokio::test]
async fn deferred_objects_wait_and_the_next_due_time_is_known() {
    let bench = Bench::new().await;
    let study = bench.study("1.1", StudyState::Analyzing, 0).await;
    bench.finish(&study, &[object("2.1"), object("2.2")], &[row("2.1", "a", 0), row("2.2", "a", 1)]).await;
    assert_eq!(bench.ledger.next_due_at("b").await.unwrap(), None);
    let later = Timestamp::now() + SignedDuration::from_secs(60);
    let uid = Uid::parse("2.1").unwrap();
    bench.ledger.record_deferred(&uid, "a", later, Some(0xA700), "A700H").await.unwrap();
    assert_eq!(bench.due("a").await, ["2.2"]);
    let even_later = later + SignedDuration::from_secs(60);
    bench.ledger.postpone(&study, "a", even_later, "connection refused").await.unwrap();
    assert!(bench.due("a").await.is_empty());
    let next = bench.ledger.next_due_at("a").await.unwrap().unwrap();
    assert_eq!(next.as_millisecond(), even_later.as_millisecond());
    let due = bench.ledger.due("a", even_later + SignedDuration::from_secs(1), 10).await.unwrap();
    let attempts: Vec<u32> = due.iter().map(|d| d.attempts).collect();
    assert_eq!(attempts, [1, 0], "a destination that is down is no attempt of the object");
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_secs(seconds)
}

#[tokio::test]
async fn a_study_that_is_not_for_analysis_is_forgotten_with_its_files_or_not_at_all() {
    let bench = Bench::new().await;
    let old = bench.study("1.1", StudyState::NotForAnalysis, 3600).await;
    bench.study("1.2", StudyState::NotForAnalysis, 10).await;
    bench.study("1.3", StudyState::Failed, 3600).await;
    let due = Due::NotForAnalysis(ago(60));
    let found = bench.ledger.due_for_removal(due, Place::BEFORE_THE_FIRST).await.unwrap();
    assert_eq!(found.iter().map(|(s, _)| s.study_uid.as_str()).collect::<Vec<_>>(), ["1.1"]);
    let broken = SpoolError::InUse { directory: "/".into() };
    bench.ledger.remove_study(&old, due, |_| Err(broken)).await.unwrap_err();
    assert_eq!(bench.state(&old).await, StudyState::NotForAnalysis, "its files are still there, so is its row");
    bench.ledger.retry_study(&old).await.unwrap();
    let removed = bench.ledger.remove_study(&old, due, |_| panic!("an operator was faster")).await.unwrap();
    assert!(!removed);
    let second = Uid::parse("1.2").unwrap();
    assert!(bench.ledger.remove_study(&second, Due::NotForAnalysis(ago(5)), |_| Ok(())).await.unwrap());
    assert!(matches!(bench.ledger.study(&second).await, Err(LedgerError::UnknownStudy { .. })));
}

#[tokio::test]
async fn a_delivered_study_leaves_its_memory_and_an_undelivered_one_stays() {
    let bench = Bench::new().await;
    let due = || Due::Delivered(Timestamp::now() + SignedDuration::from_secs(60));
    let uid = |text: &str| Uid::parse(text).unwrap();
    let (done, refused, waiting) = (
        bench.study("1.1", StudyState::Analyzing, 30).await,
        bench.study("1.2", StudyState::Analyzing, 20).await,
        bench.study("1.3", StudyState::Analyzing, 10).await,
    );
    let picture = |uid: &str| RenderedObject { kind: ObjectKind::HeatmapT1, ..object(uid) };
    bench.finish(&done, &[object("2.1"), picture("2.2")], &[row("2.1", "pacs", 1), row("2.2", "pacs", 0)]).await;
    bench.finish(&refused, &[object("3.1")], &[row("3.1", "pacs", 0)]).await;
    bench.finish(&waiting, &[object("4.1")], &[row("4.1", "pacs", 0)]).await;
    for object in ["2.1", "2.2"] {
        bench.ledger.record_delivered(&uid(object), "pacs", 0).await.unwrap();
    }
    bench.ledger.record_refused(&uid("3.1"), "pacs", Some(0xC000), "no").await.unwrap();
    for study in [&done, &refused, &waiting] {
        bench.ledger.settle_study(study).await.unwrap();
    }
    let found = bench.ledger.due_for_removal(due(), Place::BEFORE_THE_FIRST).await.unwrap();
    assert_eq!(found.iter().map(|(s, _)| s.study_uid.as_str()).collect::<Vec<_>>(), ["1.1"]);
    assert!(bench.ledger.remove_study(&done, due(), |_| Ok(())).await.unwrap());
    assert!(bench.ledger.due_for_removal(due(), Place::BEFORE_THE_FIRST).await.unwrap().is_empty(), "removed once");
    let shown = bench.ledger.show_study(&done).await.unwrap();
    assert_eq!(shown.study.state, StudyState::Delivered);
    assert!(shown.study.files_removed_at.is_some());
    let kinds: Vec<&str> = shown.objects.iter().map(|object| object.kind.as_str()).collect();
    assert_eq!(kinds, ["report"], "the report's delivery is remembered, rows per picture are not");
    assert_eq!(shown.verdicts.len(), 1);
    let error = bench.ledger.retry_study(&done).await.unwrap_err();
    assert!(matches!(error, LedgerError::FilesRemoved { .. }), "{error}");
    let history = bench.ledger.history(&done).await.unwrap();
    assert!(history.files_were_removed && history.revision == 1 && history.reports.len() == 1);
}

#[tokio::test]
async fn a_study_with_a_delivery_that_waits_is_not_forgotten_whatever_it_is_called() {
    let bench = Bench::new().await;
    let study = bench.study("1.1", StudyState::Analyzing, 3600).await;
    bench.finish(&study, &[object("2.1")], &[row("2.1", "pacs", 0)]).await;
    sqlx::raw_sql("UPDATE studies SET state = 'not_for_analysis'").execute(&bench.ledger.writer).await.unwrap();
    let due = Due::NotForAnalysis(ago(60));
    assert!(bench.ledger.due_for_removal(due, Place::BEFORE_THE_FIRST).await.unwrap().is_empty());
    bench.ledger.record_delivered(&Uid::parse("2.1").unwrap(), "pacs", 0).await.unwrap();
    assert_eq!(bench.ledger.due_for_removal(due, Place::BEFORE_THE_FIRST).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_given_back_and_no_attempt_is_counted() {
    let bench = Bench::new().await;
    let study = bench.study("1.1", StudyState::Complete, 0).await;
    bench.ledger.next_complete().await.unwrap().unwrap();
    bench.ledger.give_back(&study, "the disk is full").await.unwrap();
    let again = bench.ledger.next_complete().await.unwrap().unwrap();
    assert_eq!((again.study_uid, again.attempts), (study, 1));
}

#[tokio::test]
async fn a_result_that_only_the_spool_has_is_entered_and_sent_again_under_its_own_uids() {
    let bench = Bench::new().await;
    let study = bench.study("1.1", StudyState::Receiving, 10).await;
    let outbox = [row("2.1", "pacs", 0)];
    let first = record(&study, 1, &[object("2.1")]);
    assert!(bench.ledger.restore_result(&first, &outbox).await.unwrap());
    assert_eq!(bench.state(&study).await, StudyState::Reported);
    assert_eq!(bench.due("pacs").await, ["2.1"]);
    assert!(!bench.ledger.restore_result(&first, &outbox).await.unwrap(), "once");
    assert_eq!(bench.ledger.studies_with_late_images().await.unwrap().len(), 1, "it looked at nothing so new");
    let second = ResultRecord { looked_at_ms: i64::MAX, ..record(&study, 2, &[object("2.2")]) };
    assert!(bench.ledger.restore_result(&second, &[row("2.2", "pacs", 0)]).await.unwrap());
    assert_eq!(bench.due("pacs").await, ["2.2"], "the first is superseded");
    let stranger = Uid::parse("9.9").unwrap();
    assert!(!bench.ledger.restore_result(&record(&stranger, 1, &[]), &[]).await.unwrap(), "its images are gone");
}

#[tokio::test]
async fn late_images_reopen_a_study_and_the_result_stands_when_they_change_nothing() {
    let bench = Bench::new().await;
    let study = bench.study("1.1", StudyState::Analyzing, 0).await;
    bench.finish(&study, &[object("2.1")], &[]).await;
    sqlx::raw_sql("UPDATE studies SET late_since = 5").execute(&bench.ledger.writer).await.unwrap();
    bench.ledger.reopen_study(&study).await.unwrap();
    assert!(bench.ledger.history(&study).await.unwrap().only_late);
    bench.ledger.next_complete().await.unwrap().unwrap();
    assert_eq!(bench.ledger.restart_unfinished().await.unwrap(), 1, "a kill in between");
    bench.ledger.next_complete().await.unwrap().unwrap();
    assert!(bench.ledger.history(&study).await.unwrap().only_late, "is remembered");
    bench.ledger.keep_result(&study, "nothing changed").await.unwrap();
    let again = bench.ledger.keep_result(&study, "it is not being analyzed").await;
    assert!(matches!(again, Err(LedgerError::Move { .. })), "{again:?}");
    let row = bench.ledger.study(&study).await.unwrap();
    assert_eq!((row.state, row.reason.as_str(), row.revision), (StudyState::Delivered, "nothing changed", 1));
    assert!(bench.ledger.studies_with_late_images().await.unwrap().is_empty());
    bench.ledger.retry_study(&study).await.unwrap();
    assert!(!bench.ledger.history(&study).await.unwrap().only_late, "a retry is an analysis in any case");
}

#[tokio::test]
async fn a_write_by_another_process_is_noticed_and_our_own_is_not() {
    let bench = Bench::new().await;
    let study = bench.study("1.1", StudyState::Failed, 0).await;
    let before = bench.ledger.data_version().await.unwrap();
    bench.ledger.move_study(&study, StudyState::Complete, "").await.unwrap();
    bench.ledger.move_study(&study, StudyState::Analyzing, "").await.unwrap();
    bench.ledger.fail_study(&study, "oh").await.unwrap();
    assert_eq!(bench.ledger.data_version().await.unwrap(), before);
    let operator = Ledger::open_existing(&bench.folder.path().join("ledger.sqlite")).await.unwrap();
    assert_eq!(bench.ledger.data_version().await.unwrap(), before, "looking changes nothing");
    operator.retry_study(&study).await.unwrap();
    assert_ne!(bench.ledger.data_version().await.unwrap(), before);
    let nowhere = Ledger::open_existing(&bench.folder.path().join("nothing.sqlite")).await;
    assert!(matches!(nowhere, Err(LedgerError::Missing { .. })));
}

#[tokio::test]
async fn every_state_is_counted() {
    let bench = Bench::new().await;
    bench.study("1.1", StudyState::Complete, 5).await;
    bench.study("1.2", StudyState::Delivered, 50).await;
    let overview = bench.ledger.overview().await.unwrap();
    assert_eq!(overview.studies.len(), StudyState::ALL.len());
    assert_eq!((overview.studies["complete"], overview.studies["failed"]), (1, 0));
    assert_eq!(overview.last_delivered.unwrap().study_uid.as_str(), "1.2");
    assert!(overview.last_association.is_none());
}

/// The tables grow for years: no question that is asked per object or per second may read a whole one.
#[tokio::test]
async fn the_frequent_questions_are_answered_by_indexes() {
    let bench = Bench::new().await;
    let questions = [
        "SELECT study_uid FROM studies WHERE state = 'complete' ORDER BY last_received_at LIMIT 1",
        "SELECT study_uid FROM studies WHERE state = 'delivered' ORDER BY state_since DESC LIMIT 1",
        "SELECT next_attempt_at FROM outbox WHERE destination = 'a' AND status = 'waiting' ORDER BY next_attempt_at LIMIT 1",
        "SELECT o.study_uid FROM outbox b JOIN objects o ON o.sop_instance_uid = b.sop_instance_uid
         WHERE b.destination = 'a' AND b.status = 'waiting' AND b.next_attempt_at <= 5
         ORDER BY b.next_attempt_at, b.position LIMIT 1",
        "SELECT b.status, count(*) FROM objects o JOIN outbox b ON b.sop_instance_uid = o.sop_instance_uid
         WHERE o.study_uid = '1' GROUP BY b.status",
    ];
    for question in questions {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {question}")))
                .fetch_all(&bench.ledger.readers)
                .await
                .unwrap();
        for (.., step) in &plan {
            assert!(!step.starts_with("SCAN"), "{question}\n{step}");
        }
    }
    for (question, index) in [
        (super::revisions::late_images_query(), "studies_with_late_images"),
        (Due::Delivered(Timestamp::now()).query(), "studies_to_remove"),
        (Due::NotForAnalysis(Timestamp::now()).query(), "studies_by_state "),
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {question}")))
                .fetch_all(&bench.ledger.readers)
                .await
                .unwrap();
        assert!(plan.iter().any(|(.., step)| step.contains(index)), "{question}\n{plan:?}");
        assert!(!plan.iter().any(|(.., step)| step.contains("TEMP B-TREE")), "{question}\n{plan:?}");
    }
    let counts = "EXPLAIN QUERY PLAN SELECT destination, status, count(*) FROM outbox WHERE status <> 'delivered'
                  GROUP BY destination, status";
    let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(counts).fetch_all(&bench.ledger.readers).await.unwrap();
    assert!(plan.iter().any(|(.., step)| step.contains("outbox_open")), "{plan:?}");
}
