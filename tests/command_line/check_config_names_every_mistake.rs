//! `fcdd check-config` names every mistake at once, with line and allowed values, and `fcdd serve` refuses
//! to start with such a file.

use std::process::Command;

fn fcdd(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fcdd")).args(arguments).output().expect("fcdd starts");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn all_mistakes_in_one_go() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fcdd.toml");
    std::fs::write(
        &file,
        "version = 2\n[receive]\nae_title = 'SEVENTEEN LETTERS'\nlisten = 'localhost'\nportt = 3\n\n[spool]\ndirectory = 'spool'\n\n[analyze]\nmodels = []\ndevice = 'tpu'\nsite_prevalence = 1.0\n\n[destination.pacs]\nae_title = 'PACS'\nobjects = ['film']\nport = 70000\n",
    )
    .unwrap();
    let path = file.to_str().unwrap();

    let (status, text, _) = fcdd(&["check-config", "--config", path]);
    assert_eq!(status, Some(2), "{text}");
    for expected in [
        "line 1: version",
        "line 3: receive.ae_title",
        "line 4: receive.listen",
        "line 5: receive.portt",
        "line 11: analyze.models",
        "line 12: analyze.device",
        "cuda:N",
        "line 13: analyze.site_prevalence must lie above 0 and below 1",
        "destination.pacs.host",
        "line 17: destination.pacs.objects",
        "heatmap-flair",
        "line 18: destination.pacs.port",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }

    let (status, text, _) = fcdd(&["check-config", "--config", path, "--json"]);
    assert_eq!(status, Some(2));
    let mistakes: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(mistakes.as_array().unwrap().len(), 10, "{text}");

    let (status, _, errors) = fcdd(&["serve", "--config", path]);
    assert_eq!(status, Some(2), "{errors}");
    assert!(errors.contains("receive.portt"), "{errors}");
}

#[test]
fn files_that_the_configuration_names_are_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fcdd.toml");
    std::fs::write(
        &file,
        "version = 1\n[receive]\nae_title = 'FCDD'\n[spool]\ndirectory = 'spool'\n[assemble]\nsequences = 'no-rules.toml'\n[analyze]\nmodels = ['no-model']\n[report]\ntemplates = 'no-templates'\n",
    )
    .unwrap();
    let (status, text, _) = fcdd(&["check-config", "--config", file.to_str().unwrap()]);
    assert_eq!(status, Some(2), "{text}");
    for expected in ["assemble.sequences", "analyze.models", "report.templates"] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
}

#[test]
fn the_example_configuration_is_good() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/fcdd.toml");
    let text = std::fs::read_to_string(example).unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Err(mistakes) = fcdd::config::Config::parse(&text, folder) {
        panic!("{mistakes:#?}");
    }
}

#[test]
fn research_and_mail_are_checked_and_keep_no_daemon_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fcdd.toml");
    let check = |research_and_mail: &str, more: &[&str]| {
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
        let daemon = format!(
            "version = 1\n[receive]\nae_title = 'FCDD'\n[spool]\ndirectory = 'spool'\n[analyze]\nmodels = \
             ['{models}/demo-t1', '{models}/demo-flair']\n"
        );
        std::fs::write(&file, daemon + research_and_mail).unwrap();
        let (status, text, _) = fcdd(&[&["check-config", "--config", file.to_str().unwrap()][..], more].concat());
        (status, text)
    };

    let (status, text) = check(
        "[research]\narchive = 'archive'\nretrain_arguments = ['--fold=1']\nexport_arguments = ['-o', 'x']\n[mail]\n\
         security = 'ssl'\nport = 0\nuser = 'fcdd'\nfrom = 'nobody'\nto = ['a@example.org', 'b']\ntimeout_s = 0\n\
         password = 'secret'\n",
        &["--daemon"],
    );
    assert_eq!(status, Some(2), "{text}");
    for expected in [
        "research.runs",
        "research.models",
        "line 10: research.retrain_arguments",
        "line 11: research.export_arguments",
        "mail.host",
        "line 13: mail.security",
        "`starttls`, `tls`, `none`",
        "line 14: mail.port",
        "line 15: mail.user",
        "line 16: mail.from",
        "line 17: mail.to has \"b\"",
        "line 18: mail.timeout_s",
        "line 19: mail.password",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    let server = "[mail]\nhost = 'smtp.example.org'\nfrom = 'a@example.org'\nto = ['b@example.org']\n";
    let login = "user = 'fcdd'\npassword_file = 'password'\n";
    let (status, text) = check(&format!("{server}{login}security = 'none'\n"), &["--daemon"]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("mail.security") && text.contains("in clear"), "{text}");

    // What only the research side needs is named, but does not keep the daemon from starting.
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let research = "[research]\narchive = 'archive'\nruns = 'runs'\nmodels = 'models'\n\
                    retrain_arguments = ['--architecture', 'resnet11']\nexport_arguments = ['--dta', 'people']\n";
    let (status, text) = check(&format!("{research}{server}{login}"), &[]);
    assert_eq!(status, Some(2), "{text}");
    for expected in [
        "research.archive",
        "participants.tsv",
        "research.retrain_arguments cannot be used",
        "resnet11",
        "research.export_arguments cannot be used",
        "--dta",
        "mail.password_file",
        "mode 640",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    let (status, text) = check(&format!("{research}{server}{login}"), &["--daemon"]);
    assert_eq!(status, Some(0), "{text}");
}
