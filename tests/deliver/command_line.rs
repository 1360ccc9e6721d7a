//! `fcdd send`, `echo`, `studies` and `status` as scripts use them: what they print and their exit status.

use std::path::Path;
use std::process::{Command, Output};

use fcdd::ledger::StudyState;
use serde_json::Value;

use crate::bench::{AwkwardPeer, Bench, SECONDARY_CAPTURE, Storescp, destinations, write_object};
use crate::support;

fn fcdd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fcdd")).args(arguments).output().expect("fcdd starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_folder_is_sent_and_what_is_no_dicom_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pacs) = Storescp::start(support::free_port(), &folder.path().join("pacs"), &[]) else { return };
    let study = folder.path().join("study");
    std::fs::create_dir_all(study.join("deeper")).unwrap();
    for i in 1..=3 {
        write_object(&study.join(format!("deeper/{i}.dcm")), SECONDARY_CAPTURE, "1.2", &format!("1.2.{i}"));
    }
    std::fs::write(study.join("notes.txt"), "not an image").unwrap();
    let to = format!("PACS@127.0.0.1:{}", pacs.port);
    let sent = fcdd(&["send", study.to_str().unwrap(), "--to", &to, "--json"]);
    assert!(sent.status.success(), "{}", stderr(&sent));
    let summary = json(&sent);
    assert_eq!(summary["stored"], 3);
    assert!(summary["skipped"][0]["path"].as_str().unwrap().ends_with("notes.txt"), "{summary}");
    assert_eq!(pacs.stored().len(), 3);

    let sent = fcdd(&["send", study.to_str().unwrap(), "--to", &to]);
    assert!(sent.status.success());
    assert!(String::from_utf8_lossy(&sent.stdout).contains("3 stored, 0 failed, 1 skipped"), "{sent:?}");
    assert!(stderr(&sent).contains("notes.txt: not a DICOM file"), "{sent:?}");
}

/// DCMTK compresses and judges; the pixels must arrive in the transfer syntax that they had.
#[test]
fn a_compressed_file_is_sent_as_it_is_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(dcmcjpeg), Some(pacs)) = (
        support::require_peer("dcmcjpeg"),
        Storescp::start(support::free_port(), &folder.path().join("pacs"), &["--accept-all"]),
    ) else {
        return;
    };
    let (plain, compressed) = (folder.path().join("plain.dcm"), folder.path().join("jpeg.dcm"));
    write_object(&plain, SECONDARY_CAPTURE, "1.2", "1.2.1");
    let done = Command::new(dcmcjpeg).args([&plain, &compressed]).status().unwrap();
    assert!(done.success());
    let to = format!("PACS@127.0.0.1:{}", pacs.port);
    let sent = fcdd(&["send", compressed.to_str().unwrap(), "--to", &to]);
    assert!(sent.status.success(), "{}", stderr(&sent));
    let head = |path: &Path| fcdd::deliver::dicom_file::DicomFile::open(path).unwrap();
    let (ours, theirs) = (head(&compressed), head(&pacs.stored()[0]));
    assert_eq!(theirs.transfer_syntax, ours.transfer_syntax);
    let syntax = ours.transfer_syntax.as_str();
    assert!(theirs.dataset(syntax).unwrap() == ours.dataset(syntax).unwrap());

    // A peer that takes no compressed objects: said, and the plain one still goes.
    let Some(strict) = Storescp::start(support::free_port(), &folder.path().join("strict"), &[]) else { return };
    let to = format!("PACS@127.0.0.1:{}", strict.port);
    let sent = fcdd(&["send", compressed.to_str().unwrap(), plain.to_str().unwrap(), "--to", &to, "--json"]);
    assert_eq!(sent.status.code(), Some(1));
    let summary = json(&sent);
    assert_eq!(summary["stored"], 1);
    assert!(summary["failed"][0]["why"].as_str().unwrap().contains("does not accept"), "{summary}");
}

#[test]
fn refusals_and_dead_peers_are_exit_status_1_and_wrong_calls_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("2.dcm");
    write_object(&file, SECONDARY_CAPTURE, "1.2", "1.2.2");
    let nobody = format!("PACS@127.0.0.1:{}", support::free_port());
    let sent = fcdd(&["send", file.to_str().unwrap(), "--to", &nobody]);
    assert_eq!(sent.status.code(), Some(1));
    assert!(stderr(&sent).contains("cannot connect"), "{sent:?}");
    assert_eq!(fcdd(&["send", "/no/such/file", "--to", &nobody]).status.code(), Some(2));
    let wrong = fcdd(&["send", file.to_str().unwrap(), "--to", "PACS"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("AET@HOST:PORT"), "{wrong:?}");
    assert_eq!(fcdd(&["echo", &nobody]).status.code(), Some(1));

    let Some(peer) = AwkwardPeer::start("poison") else { return };
    let to = format!("PACS@127.0.0.1:{}", peer.port);
    let echo = fcdd(&["echo", &to, "--json"]);
    assert!(echo.status.success(), "{echo:?}");
    assert_eq!(json(&echo)["answered"], true);
    let sent = fcdd(&["send", file.to_str().unwrap(), "--to", &to]);
    assert_eq!(sent.status.code(), Some(1));
    assert!(stderr(&sent).contains("C000H"), "{sent:?}");
}

#[tokio::test]
async fn an_operator_lists_shows_and_retries_beside_a_running_daemon() {
    let Some(peer) = AwkwardPeer::start("poison") else { return };
    let bench = Bench::new().await;
    let to = destinations(&[("pacs", peer.port, "")]);
    bench.report("1.2.3", 2, &to).await;
    let delivering = bench.deliver(&to);
    bench.until("1.2.3", StudyState::Delivered).await;
    let config = bench.spool().join("fcdd.toml");
    let text = format!(
        "version = 1\n[receive]\nae_title = 'FCDD'\n[spool]\ndirectory = '{}'\n[analyze]\nmodels = ['nowhere']\n",
        bench.spool().display()
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap().to_owned();
    let ask = async |arguments: &[&str]| {
        let all: Vec<String> = arguments.iter().chain(&["--config", &config]).map(|s| (*s).to_owned()).collect();
        let run = move || fcdd(&all.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    };

    let list = ask(&["studies", "list"]).await;
    assert!(list.status.success(), "{list:?}");
    assert!(String::from_utf8_lossy(&list.stdout).contains("1.2.3"), "{list:?}");
    let list = ask(&["studies", "list", "--state", "failed", "--json"]).await;
    assert_eq!(json(&list), serde_json::json!([]));
    assert_eq!(ask(&["studies", "list", "--state", "gone"]).await.status.code(), Some(2));

    let show = json(&ask(&["studies", "show", "1.2.3", "--json"]).await);
    assert_eq!(show["state"], "delivered");
    assert_eq!(show["verdict"], "not_suspected");
    let deliveries = show["objects"].as_array().unwrap().iter().map(|o| &o["deliveries"][0]);
    let refused: Vec<&Value> = deliveries.filter(|d| d["status"] == "refused").collect();
    assert_eq!(refused.len(), 1, "{show:#}");
    let show = ask(&["studies", "show", "1.2.3"]).await;
    let text = String::from_utf8_lossy(&show.stdout).into_owned();
    assert!(text.contains("to pacs: 2 delivered, 0 waiting, 1 refused, 0 held"), "{text}");
    assert_eq!(ask(&["studies", "show", "9.9"]).await.status.code(), Some(1));

    let status = ask(&["status"]).await;
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(text.lines().count(), 5, "{text}");
    for (line, begin) in text.lines().zip(["intake", "backlog", "last success", "disk", "models"]) {
        assert!(line.starts_with(begin), "{text}");
    }
    assert!(text.contains("1 refused"), "{text}");
    assert_eq!(json(&ask(&["status", "--json"]).await)["studies"]["delivered"], 1);

    let before = bench.ledger.data_version().await.unwrap();
    let retry = ask(&["studies", "retry", "1.2.3"]).await;
    assert!(retry.status.success(), "{retry:?}");
    assert_ne!(bench.ledger.data_version().await.unwrap(), before, "the daemon can see it");
    assert_eq!(bench.details("1.2.3").await.study.state, StudyState::Complete);
    bench.wake.notify_one();
    let tried = peer.until_said(4).await;
    assert_eq!(tried[3].uid, "1.2.3.2", "the refused one, and only that");
    let again = ask(&["studies", "retry", "1.2.3"]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("nothing to retry"), "{again:?}");
    delivering.stop().await;
}
