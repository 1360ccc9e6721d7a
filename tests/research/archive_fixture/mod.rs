//! A daemon's spool and ledger with one study in it, and calls of `fcdd admin archive add` on them.

use std::path::{Path, PathBuf};
use std::process::Output;

use fcdd::dicom::Uid;
use fcdd::ledger::{Ledger, StudyState};
use fcdd::spool::Spool;

use crate::support::{Configuration, fcdd};

/// A configuration whose ledger knows a complete study, a site secret, and a place for an archive.
pub struct Site {
    configuration: Configuration,
    config_file: PathBuf,
    /// The site secret that calls name.
    pub secret: PathBuf,
}

impl Site {
    /// An empty site.
    pub fn new() -> Site {
        let configuration = Configuration::new();
        let config_file = configuration.write();
        let secret = configuration.directory().join("site.secret");
        let made = fcdd(["admin".as_ref(), "archive".as_ref(), "secret".as_ref(), secret.as_os_str()]);
        assert!(made.status.success(), "{}", stderr(&made));
        Site { configuration, config_file, secret }
    }

    /// The archive's folder.
    pub fn archive(&self) -> PathBuf {
        self.configuration.directory().join("archive")
    }

    /// Puts files into the spool as received objects of complete studies.
    pub fn receive(&self, files: &[PathBuf]) {
        let directory = self.configuration.directory().join("spool");
        let spool = Spool::open(&directory).unwrap();
        let mut studies = std::collections::BTreeSet::new();
        for file in files {
            let object = dicom_object::open_file(file).unwrap();
            let uid = |tag| Uid::parse(&object.element(tag).unwrap().to_str().unwrap()).unwrap();
            let study = uid(dicom_dictionary_std::tags::STUDY_INSTANCE_UID);
            let place = spool.path(&Spool::instance_path(&study, &uid(dicom_dictionary_std::tags::SOP_INSTANCE_UID)));
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::copy(file, place).unwrap();
            studies.insert(study);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ledger = Ledger::open(&spool.ledger_path()).await.unwrap();
            ledger.rebuild_from_spool(&spool).await.unwrap();
            for study in &studies {
                ledger.move_study(study, StudyState::Complete, "").await.unwrap();
            }
            ledger.close().await;
        });
    }

    /// `fcdd admin archive add STUDY` with more arguments.
    pub fn add(&self, study: &str, more: &[&str]) -> Output {
        let archive = self.archive();
        let mut arguments: Vec<&std::ffi::OsStr> =
            ["admin", "archive", "add", study, "--archive"].map(AsRef::as_ref).to_vec();
        arguments.extend([
            archive.as_os_str(),
            "--config".as_ref(),
            self.config_file.as_os_str(),
            "--secret".as_ref(),
            self.secret.as_os_str(),
        ]);
        arguments.extend(more.iter().map(|a| -> &std::ffi::OsStr { a.as_ref() }));
        fcdd(arguments)
    }

    /// The same, which must succeed; its JSON.
    pub fn added(&self, study: &str, more: &[&str]) -> serde_json::Value {
        let output = self.add(study, &[more, &["--json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The same, which must be refused with exit status 1; what it said.
    pub fn refused(&self, study: &str, more: &[&str]) -> String {
        let output = self.add(study, more);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        stderr(&output)
    }
}

/// What a command said on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file below a folder with its bytes; gzipped ones inflated.
pub fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        if !bytes.starts_with(&[0x1F, 0x8B]) {
            return (path, bytes);
        }
        let mut inflated = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()), &mut inflated).unwrap();
        (path, inflated)
    };
    crate::support::files_below(folder).into_iter().map(read).collect()
}
