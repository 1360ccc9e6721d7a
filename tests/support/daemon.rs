//! `fcdd serve` as a process of its own: configured, started until it says READY, watched, killed.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use toml::{Table, Value};

use super::prerequisites::onnxruntime;
use super::unit;
use super::waiting::{free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the program `fcdd` with these arguments to its end.
pub fn fcdd<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    command(&[]).args(arguments).output().expect("fcdd can be started")
}

fn command(wrapper: &[OsString]) -> Command {
    let fcdd = OsString::from(env!("CARGO_BIN_EXE_fcdd"));
    let mut words = wrapper.iter().chain([&fcdd]);
    let mut command = Command::new(words.next().expect("there is at least fcdd"));
    command.args(words);
    // The repository is where the configuration's relative paths and the demonstration models are.
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).envs(unit::environment());
    if let Some(library) = onnxruntime() {
        command.env("FCDD_ONNXRUNTIME", library);
    }
    command
}

/// The configuration of a daemon under test: loopback, the repository's own templates and demonstration models, short
/// waits, a spool in a temporary directory. Fields are named as in the file (`set("assemble.quiet_s", 0.5)`).
pub struct Configuration {
    table: Table,
    directory: TempDir,
    wrapper: Vec<OsString>,
}

impl Default for Configuration {
    fn default() -> Self {
        Configuration::new()
    }
}

impl Configuration {
    /// The AE title of the daemons under test.
    pub const AE_TITLE: &str = "FCDD";

    /// A configuration without destinations.
    pub fn new() -> Configuration {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let models = ["models/demo-t1", "models/demo-flair"].map(|model| path_value(&repository.join(model)));
        Configuration { table: Table::new(), directory, wrapper: Vec::new() }
            .set("version", 1)
            .set("receive.ae_title", Configuration::AE_TITLE)
            .set("receive.listen", format!("127.0.0.1:{}", free_port()))
            .set("assemble.quiet_s", 0.5)
            .set("assemble.sequences", path_value(&repository.join("config/sequences.toml")))
            .set("analyze.models", models.to_vec())
            .set("analyze.device", "cpu")
            .set("report.templates", path_value(&repository.join("dicom-templates")))
            .set("observe.log", "debug,ort=warn,sqlx=warn")
            .set("observe.drain_s", 20.0)
            .set_spool()
    }

    fn set_spool(self) -> Configuration {
        let spool = path_value(&self.directory.path().join("spool"));
        // A full disk of the testing machine is not what the tests are about.
        self.set("spool.directory", spool).set("spool.min_free_mib", 1)
    }

    /// Sets one field; the path's parts are separated by dots.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Configuration {
        let (tables, field) = path.rsplit_once('.').map_or(("", path), |(tables, field)| (tables, field));
        let mut table = &mut self.table;
        for part in tables.split('.').filter(|part| !part.is_empty()) {
            let entry = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            table = entry.as_table_mut().unwrap_or_else(|| panic!("{path}: {part} is not a table"));
        }
        table.insert(field.to_owned(), value.into());
        self
    }

    /// Adds a destination on loopback, with quick retries; more of its fields by `set("destination.NAME.…")`.
    pub fn destination(self, name: &str, ae_title: &str, port: u16) -> Configuration {
        let field = |field: &str| format!("destination.{name}.{field}");
        self.set(&field("ae_title"), ae_title)
            .set(&field("host"), "127.0.0.1")
            .set(&field("port"), i64::from(port))
            .set(&field("retry_s"), 0.2)
            .set(&field("max_retry_s"), 1.0)
    }

    /// Starts the daemon under a program such as strace, given with its arguments, which must become `fcdd` under the
    /// process id that it was started with.
    pub fn under<A: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Configuration {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// The directory that holds the configuration file, the log and the spool; removed with the daemon.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log.txt")
    }

    /// Writes the file that `fcdd serve --config` reads.
    pub fn write(&self) -> PathBuf {
        let file = self.directory.path().join("fcdd.toml");
        std::fs::write(&file, self.table.to_string()).expect("the configuration can be written");
        file
    }

    fn port(&self) -> u16 {
        let listen = self.table["receive"]["listen"].as_str().expect("listen is an address");
        listen.rsplit(':').next().and_then(|port| port.parse().ok()).expect("listen has a port")
    }
}

fn path_value(path: &Path) -> Value {
    Value::String(path.to_str().expect("test paths are UTF-8").to_owned())
}

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this exit status.
    Status(i32),
    /// By a signal.
    Signal,
}

/// A running `fcdd serve`; killed when dropped.
pub struct Daemon {
    process: Child,
    configuration: Configuration,
    log: PathBuf,
}

impl Daemon {
    /// Starts it and waits until it says (by `sd_notify`) that it accepts associations.
    pub fn start(configuration: Configuration) -> Daemon {
        let log = configuration.log();
        let file = File::options().create(true).append(true).open(&log).expect("the log can be written");
        let socket_path = configuration.directory().join("notify");
        let _ = std::fs::remove_file(&socket_path);
        let socket = UnixDatagram::bind(&socket_path).expect("a socket can be made in the temporary directory");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");

        let process = command(&configuration.wrapper)
            .args(["serve", "--config"])
            .arg(configuration.write())
            .env("NOTIFY_SOCKET", &socket_path)
            .stdout(file.try_clone().expect("a file handle can be shared"))
            .stderr(file)
            .spawn()
            .expect("fcdd can be started");
        let mut daemon = Daemon { process, configuration, log };

        let end = Instant::now() + PATIENCE;
        let mut message = [0; 4096];
        loop {
            if let Ok(length) = socket.recv(&mut message)
                && String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1")
            {
                return daemon;
            }
            if let Ok(Some(status)) = daemon.process.try_wait() {
                panic!("fcdd serve ended before it was ready ({status}):\n{}", daemon.log());
            }
            assert!(Instant::now() < end, "fcdd serve was not ready within {PATIENCE:?}:\n{}", daemon.log());
        }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.configuration.port()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its configuration file.
    pub fn configuration_file(&self) -> PathBuf {
        self.configuration.directory().join("fcdd.toml")
    }

    /// Its spool and ledger.
    pub fn spool(&self) -> PathBuf {
        self.configuration.directory().join("spool")
    }

    /// What it (and its predecessors on the same spool) has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until the log has a line that contains `text`; that line.
    pub fn wait_for_log(&mut self, text: &str, deadline: Duration) -> String {
        let end = Instant::now() + deadline;
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            let ended = self.process.try_wait().ok().flatten();
            assert!(ended.is_none(), "fcdd serve ended ({ended:?}) without {text:?} in its log:\n{log}");
            assert!(Instant::now() < end, "no {text:?} in the log within {deadline:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`; the spool is kept for [`Killed::restart`].
    pub fn kill(mut self) -> Killed {
        self.process.kill().expect("the daemon can be killed");
        self.process.wait().expect("the daemon ends");
        self.into_killed()
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("the daemon can be signalled");
    }

    /// Waits until it ends.
    pub fn wait_for_exit(&mut self, deadline: Duration) -> Exit {
        let status = wait_until("fcdd serve ends", deadline, || self.process.try_wait().expect("it can be waited for"));
        status.code().map_or(Exit::Signal, Exit::Status)
    }

    /// SIGTERM and a wait; the spool is kept for [`Killed::restart`].
    pub fn stop(mut self, deadline: Duration) -> (Exit, Killed) {
        self.terminate();
        let exit = self.wait_for_exit(deadline);
        (exit, self.into_killed())
    }

    fn into_killed(mut self) -> Killed {
        let configuration = std::mem::take(&mut self.configuration);
        Killed { configuration }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // The log of a failing scenario goes where the failure is read; its directory goes away.
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
    }
}

/// A daemon that is gone; its configuration, spool and log are kept.
pub struct Killed {
    configuration: Configuration,
}

impl Killed {
    /// Its configuration, to be changed before the restart.
    pub fn configuration(self) -> Configuration {
        self.configuration
    }

    /// Its spool and ledger.
    pub fn spool(&self) -> PathBuf {
        self.configuration.directory().join("spool")
    }

    /// What it (and its predecessors on the same spool) logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.configuration.log()).unwrap_or_default()).into_owned()
    }

    /// Starts it again on the same spool and port.
    pub fn restart(self) -> Daemon {
        Daemon::start(self.configuration)
    }
}
