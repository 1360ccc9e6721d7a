//! Every subcommand has `--help` with an example, and a wrong call ends with exit status 2.

use std::process::{Command, Output};

fn fcdd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fcdd")).args(arguments).output().expect("fcdd starts")
}

fn subcommands() -> Vec<String> {
    let help = String::from_utf8(fcdd(&["--help"]).stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").expect("a list of commands");
    commands
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn help_has_an_example() {
    let commands = subcommands();
    for expected in [
        "serve",
        "check-config",
        "demo",
        "analyze",
        "volume",
        "send",
        "echo",
        "phantom",
        "export",
        "studies",
        "status",
        "conformance",
    ] {
        assert!(commands.iter().any(|c| c == expected), "{expected} is missing in {commands:?}");
    }
    for command in commands {
        let output = fcdd(&[&command, "--help"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command} --help");
        assert!(text.contains(&format!("fcdd {command}")) && text.contains("Example"), "{command} --help:\n{text}");
    }
}

#[test]
fn a_wrong_call_ends_with_status_2() {
    for arguments in
        [&["no-such-command"][..], &["volume"], &["send", "x"], &["serve", "--config", "/no/such/file.toml"]]
    {
        assert_eq!(fcdd(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
