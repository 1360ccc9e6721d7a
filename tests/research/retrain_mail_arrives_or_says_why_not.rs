//! `fcdd admin mail` and a real SMTP server: what arrives, what is refused, and that nothing leaves in clear where TLS
//! was demanded.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::calls::said;
use crate::mail::{Certificate, Event, Server, configure, fcdd, finished_run, to_server};
use crate::support;

/// `fcdd admin mail` of a run in `folder`, which is made where it is not there.
fn mail_run(folder: &Path, tables: &str, more: &[&str], environment: &[(&str, &Path)]) -> std::process::Output {
    let run = folder.join("spring");
    if !run.exists() {
        finished_run(&run, &"0".repeat(64), true);
    }
    let config = configure(folder, tables);
    let call = ["admin", "mail", run.to_str().unwrap(), "--config", config.to_str().unwrap()];
    fcdd(&[&call[..], more].concat(), environment)
}

#[test]
fn the_summary_arrives_and_names_no_subject() {
    let Some(server) = Server::start("plain", None) else { return };
    let folder = tempfile::tempdir().unwrap();
    let to = "['Ann <ann@example.org>', 'bob@example.org']";
    let text = said(&mail_run(folder.path(), &to_server(server.port, "none", to, ""), &[], &[]), 0);
    assert!(text.contains("mailed to Ann <ann@example.org>, bob@example.org"), "{text}");
    let mails = server.mails(2);
    assert_eq!(mails.len(), 2, "{mails:#?}");
    let recipients: Vec<&str> = mails.iter().map(|mail| mail.envelope.1[0].as_str()).collect();
    assert_eq!(recipients, ["ann@example.org", "bob@example.org"]);
    let mail = &mails[0];
    assert_eq!(mail.envelope.0, "fcdd@example.org");
    assert_eq!(mail.headers["Subject"], "fcdd: run spring finished (synthetic, research use only)");
    assert_eq!(mail.headers["From"], "fcdd <fcdd@example.org>");
    assert_eq!(mail.headers["To"], "Ann <ann@example.org>, bob@example.org");
    assert_eq!(mail.headers["Auto-Submitted"], "auto-generated");
    assert!(mail.headers.contains_key("Date") && mail.headers.contains_key("Message-ID"), "{mail:#?}");
    for part in ["Research use only", "synthetic", "FLAIR: 2 of 2 folds", "Confounds: passed", "| AUC | 0.71 ± 0.02 |"]
    {
        assert!(mail.text.contains(part), "{part}: {}", mail.text);
    }
    assert!(!mail.text.contains("sub-") && !mail.text.contains("0.93"), "{}", mail.text);
    assert!(mail.attachments.is_empty(), "{mail:#?}");

    // The whole report, and other words in the subject line, only when somebody asks for them.
    let tables = to_server(server.port, "none", "['ann@example.org']", "attach_report = true\n");
    said(&mail_run(folder.path(), &tables, &["--subject", "für Ann"], &[]), 0);
    let mail = server.mails(3).pop().unwrap();
    assert_eq!(mail.headers["Subject"], "für Ann (synthetic, research use only)");
    assert_eq!(mail.attachments["report-flair.html"], "<!DOCTYPE html><p>sub-AB12CD: 0.93 ✓</p>\n");

    let config = folder.path().join("fcdd.toml");
    let why = "cannot read sub-AB12CD_FLAIR.nii.gz";
    said(&fcdd(&["admin", "mail", "--failed", why, "--config", config.to_str().unwrap()], &[]), 0);
    let mail = server.mails(4).pop().unwrap();
    assert_eq!(mail.headers["Subject"], "fcdd: retraining failed (research use only)");
    assert!(mail.text.contains("cannot read sub-…_FLAIR.nii.gz"), "{}", mail.text);
}

#[test]
fn a_refused_recipient_keeps_it_from_nobody_else() {
    let Some(server) = Server::start("choosy", None) else { return };
    let folder = tempfile::tempdir().unwrap();
    let tables = to_server(server.port, "none", "['nobody@example.org', 'ann@example.org']", "");
    let text = said(&mail_run(folder.path(), &tables, &[], &[]), 1);
    let expected = format!(
        "the mail could not be sent by localhost:{}: to nobody@example.org: the server said 550 5.1.1 no such mailbox here",
        server.port
    );
    assert!(text.contains(&expected), "{text}");
    let mails = server.mails(2);
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].envelope.1, ["ann@example.org"]);
}

#[test]
fn no_server_and_a_silent_one_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let port = support::free_port();
    let text = said(&mail_run(folder.path(), &to_server(port, "none", "['ann@example.org']", ""), &[], &[]), 1);
    assert!(text.contains(&format!("localhost:{port}")) && text.contains("Connection refused"), "{text}");

    let Some(server) = Server::start("silent", None) else { return };
    let tables = to_server(server.port, "none", "['ann@example.org', 'bob@example.org']", "");
    let tables = tables.replace("timeout_s = 20", "timeout_s = 1");
    let text = said(&mail_run(folder.path(), &tables, &[], &[]), 1);
    assert!(text.contains("to ann@example.org, bob@example.org: no answer within 1 s"), "{text}");
}

#[test]
fn nothing_is_sent_in_clear_where_starttls_is_demanded() {
    let Some(server) = Server::start("plain", None) else { return };
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "correct\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let login = "user = 'fcdd'\npassword_file = 'password'\n";
    let tables = to_server(server.port, "starttls", "['ann@example.org']", login);
    let text = said(&mail_run(folder.path(), &tables, &[], &[]), 1);
    assert!(text.contains("STARTTLS"), "{text}");
    for event in server.after(1) {
        match event {
            Event::Heard(line) => assert!(line.starts_with("EHLO ") || line == "QUIT\r\n", "{line:?}"),
            Event::Mail(mail) => panic!("{mail:#?}"),
            Event::Closed(()) => {}
        }
    }
}

#[test]
fn tls_is_spoken_and_the_certificate_checked() {
    let folder = tempfile::tempdir().unwrap();
    let Some(certificate) = Certificate::new(folder.path()) else { return };
    let trusting: [(&str, &Path); 1] = [("SSL_CERT_FILE", &certificate.certificate)];
    for (mode, security) in [("starttls", "starttls"), ("tls", "tls")] {
        let Some(server) = Server::start(mode, Some(&certificate)) else { return };
        let tables = to_server(server.port, security, "['ann@example.org']", "");
        let text = said(&mail_run(folder.path(), &tables, &[], &[]), 1);
        assert!(text.contains("certificate"), "{text}");
        said(&mail_run(folder.path(), &tables, &[], &trusting), 0);
        let mails = server.until_mails(1);
        assert!(mails.len() == 1 && mails[0].encrypted, "{mails:#?}");
    }
}

#[test]
fn the_password_is_used_from_a_file_that_nobody_else_reads() {
    let folder = tempfile::tempdir().unwrap();
    let Some(certificate) = Certificate::new(folder.path()) else { return };
    let Some(server) = Server::start("login", Some(&certificate)) else { return };
    let trusting: [(&str, &Path); 1] = [("SSL_CERT_FILE", &certificate.certificate)];
    let password = folder.path().join("password");
    let write = |text: &str, mode: u32| {
        fs::write(&password, text).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(mode)).unwrap();
    };
    let login = "user = 'fcdd'\npassword_file = 'password'\n";
    let tables = to_server(server.port, "starttls", "['ann@example.org', 'bob@example.org']", login);
    let mailed = |code| said(&mail_run(folder.path(), &tables, &[], &trusting), code);

    write("correct\n", 0o644);
    let text = mailed(1);
    assert!(text.contains("mode 644") && text.contains("nothing was sent"), "{text}");
    write("wrong\n", 0o600);
    let text = mailed(1);
    assert!(text.contains("to ann@example.org, bob@example.org: the server said 535"), "{text}");
    assert!(!text.contains("wrong"), "{text}");
    write("correct\n", 0o600);
    mailed(0);
    let mails = server.until_mails(2);
    assert_eq!(mails.len(), 2, "{mails:#?}");
}

#[test]
fn without_a_table_nothing_is_sent_but_it_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let text = said(&mail_run(folder.path(), "", &[], &[]), 2);
    assert!(text.contains("no [mail]"), "{text}");
    let text = said(&mail_run(folder.path(), "", &["--print"], &[]), 0);
    assert!(text.contains("Subject: fcdd: run spring finished (synthetic, research use only)"), "{text}");
    let text = said(&fcdd(&["admin", "mail", "--print"], &[]), 2);
    assert!(text.contains("RUN"), "{text}");
}
