//! Debian's Orthanc as the PACS: started on free loopback ports, with an empty store, and stopped at the end.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http;
use super::prerequisites::{require_file, require_peer};
use super::waiting::{free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const DICOMWEB_PLUGIN: &str = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so";

/// A running Orthanc.
pub struct Orthanc {
    process: Child,
    dicom_port: u16,
    http_port: u16,
    directory: TempDir,
}

impl Orthanc {
    /// Its AE title.
    pub const AE_TITLE: &str = "ORTHANC";

    /// Starts an empty Orthanc; `None`, after a skip that names it, where it is not installed.
    pub fn start() -> Option<Orthanc> {
        Orthanc::start_with(json!({}))
    }

    /// Starts an empty Orthanc with these fields of its configuration on top of the usual ones.
    pub fn start_with(changes: Value) -> Option<Orthanc> {
        let program = require_peer("Orthanc")?;
        let plugin = require_file(DICOMWEB_PLUGIN, "Orthanc's DICOMweb plugin")?;
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        Some(Orthanc::start_on(&program, &plugin, directory, free_port(), free_port(), &changes))
    }

    /// Stops this Orthanc as a failing machine would (SIGKILL); its store and its ports are kept for a restart.
    pub fn stop(mut self) -> StoppedOrthanc {
        self.kill();
        let kept = std::mem::replace(&mut self.directory, tempfile::tempdir().expect("a temporary directory"));
        StoppedOrthanc { directory: kept, dicom_port: self.dicom_port, http_port: self.http_port }
    }

    fn start_on(
        program: &Path,
        plugin: &Path,
        directory: TempDir,
        dicom_port: u16,
        http_port: u16,
        changes: &Value,
    ) -> Orthanc {
        let store = directory.path().join("store");
        let mut configuration = json!({
            "Name": "fcdd's tests",
            "StorageDirectory": store,
            "IndexDirectory": store,
            "Plugins": [plugin],
            "DicomAet": Orthanc::AE_TITLE,
            "DicomPort": dicom_port,
            "DicomAlwaysAllowStore": true,
            "DicomAlwaysAllowFind": true,
            "HttpPort": http_port,
            "RemoteAccessAllowed": false,
            "AuthenticationEnabled": false,
            "ConcurrentJobs": 1,
            "HttpThreadsCount": 8,
            "DicomWeb": { "Enable": true, "Root": "/dicom-web/" },
        });
        if let (Some(fields), Some(changes)) = (configuration.as_object_mut(), changes.as_object()) {
            fields.extend(changes.clone());
        }
        let file = directory.path().join("orthanc.json");
        std::fs::write(&file, configuration.to_string()).expect("the configuration can be written");
        let log = File::create(directory.path().join("orthanc.log")).expect("the log can be written");
        let process = Command::new(program)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be shared"))
            .stderr(log)
            .spawn()
            .expect("Orthanc can be started");

        let mut orthanc = Orthanc { process, dicom_port, http_port, directory };
        wait_until("Orthanc answers", PATIENCE, || {
            if let Ok(Some(status)) = orthanc.process.try_wait() {
                panic!("Orthanc ended at once ({status}):\n{}", orthanc.log());
            }
            let system = http::request(http_port, "GET", "/system", &[]).is_ok_and(|(status, _)| status == 200);
            (system && TcpStream::connect(("127.0.0.1", dicom_port)).is_ok()).then_some(())
        });
        orthanc
    }

    /// The port of its DICOM side.
    pub fn dicom_port(&self) -> u16 {
        self.dicom_port
    }

    /// The port of its web side (`/dicom-web` and the REST interface).
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("orthanc.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many instances it holds.
    pub fn instance_count(&self) -> u64 {
        self.get("/statistics")["CountInstances"].as_u64().expect("Orthanc counts its instances")
    }

    /// The instances whose attributes match (`{"StudyInstanceUID": ...}`), each with its `ID` and `MainDicomTags`.
    pub fn find_instances(&self, query: Value) -> Vec<Value> {
        self.find("Instance", query)
    }

    /// The series whose attributes match, each with its `ID`, `MainDicomTags` and `Instances`.
    pub fn find_series(&self, query: Value) -> Vec<Value> {
        self.find("Series", query)
    }

    fn find(&self, level: &str, query: Value) -> Vec<Value> {
        let body = json!({ "Level": level, "Query": query, "Expand": true }).to_string();
        match self.json("POST", "/tools/find", body.as_bytes()) {
            Value::Array(found) => found,
            other => panic!("Orthanc's find answered {other}"),
        }
    }

    /// Waits until it holds at least `count` instances.
    pub fn wait_for_instances(&self, count: u64, deadline: Duration) {
        wait_until(&format!("Orthanc holds {count} instances"), deadline, || {
            (self.instance_count() >= count).then_some(())
        });
    }

    /// The DICOM file of one instance (its Orthanc `ID`).
    pub fn download(&self, id: &str) -> Vec<u8> {
        self.body("GET", &format!("/instances/{id}/file"), &[])
    }

    /// Writes the files of all instances that match into `folder`; their paths.
    pub fn download_matching(&self, query: Value, folder: &Path) -> Vec<PathBuf> {
        std::fs::create_dir_all(folder).expect("the folder can be made");
        let write = |instance: Value| {
            let id = instance["ID"].as_str().expect("an instance has an ID").to_owned();
            let path = folder.join(format!("{id}.dcm"));
            std::fs::write(&path, self.download(&id)).expect("the file can be written");
            path
        };
        self.find_instances(query).into_iter().map(write).collect()
    }

    /// Stores a DICOM file through REST, as a study that was there before.
    pub fn upload(&self, file: &Path) {
        let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.body("POST", "/instances", &bytes);
    }

    /// Deletes one instance.
    pub fn delete_instance(&self, id: &str) {
        self.body("DELETE", &format!("/instances/{id}"), &[]);
    }

    /// Deletes everything.
    pub fn delete_all(&self) {
        for study in self.find("Study", json!({})) {
            self.body("DELETE", &format!("/studies/{}", study["ID"].as_str().expect("a study has an ID")), &[]);
        }
    }

    /// Any GET of the REST interface.
    pub fn get(&self, path: &str) -> Value {
        self.json("GET", path, &[])
    }

    fn json(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let answer = self.body(method, path, body);
        serde_json::from_slice(&answer).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    fn body(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let (status, answer) = http::request(self.http_port, method, path, body)
            .unwrap_or_else(|e| panic!("Orthanc, {method} {path}: {e}\n{}", self.log()));
        assert!(status == 200, "Orthanc, {method} {path}: {status} {}", String::from_utf8_lossy(&answer));
        answer
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An Orthanc that was stopped: nobody listens on its ports, its store is kept.
pub struct StoppedOrthanc {
    directory: TempDir,
    dicom_port: u16,
    http_port: u16,
}

impl StoppedOrthanc {
    /// Starts it again with the same store on the same ports.
    pub fn restart(self) -> Orthanc {
        let program = require_peer("Orthanc").expect("it ran before");
        let plugin = PathBuf::from(DICOMWEB_PLUGIN);
        Orthanc::start_on(&program, &plugin, self.directory, self.dicom_port, self.http_port, &json!({}))
    }
}
