//! `fcdd demo`: the whole main job on a synthetic study, on this machine only.
//!
//! A daemon (this program, as a process of its own) and a small receiving AE that stands for the PACS listen
//! on loopback; a phantom with a lesion goes to the daemon by C-STORE and its results come back by C-STORE.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dicom_dictionary_std::tags;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::config;
use crate::deliver::association::Call;
use crate::deliver::scu;
use crate::dicom::Uid;
use crate::dicom::peer::{AeTitle, Peer};
use crate::ledger::studies::StudyRow;
use crate::ledger::{Ledger, StudyState};
use crate::phantom::{self, Protocol, Scanner, Size, Subject, SubjectOptions};
use crate::receive::{Intake, Listener};
use crate::spool::Spool;
use crate::spool::room::RoomWatch;
use crate::study::InFlight;

const DAEMON_AE: &str = "FCDD_DEMO";
const PACS_AE: &str = "DEMO_PACS";
/// A name that marks a folder as ours to replace.
const MARK: &str = ".fcdd-demo";

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd demo --output /tmp/fcdd-demo

Everything stays on this machine (127.0.0.1). The folder of an earlier demo is replaced.")]
pub struct Args {
    /// Folder for the study, the results and the logs.
    #[arg(long, value_name = "DIR", default_value = "fcdd-demo")]
    output: PathBuf,
    /// Seed of the synthetic subject.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Model folder, at most one per sequence; default: the demonstration models that come with fcdd.
    #[arg(long = "model", value_name = "DIR")]
    models: Vec<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(demonstrate(args))
}

async fn demonstrate(args: Args) -> anyhow::Result<ExitCode> {
    let models = if args.models.is_empty() { super::resources::demo_models()? } else { args.models.clone() };
    let folder = fresh_folder(&args.output)?;
    let mut steps = Progress::new("demo", 4);

    let subject = Subject::new(&SubjectOptions { seed: args.seed, lesion: true, ..SubjectOptions::default() })?;
    let study = phantom::dicom::write_study(
        &subject,
        &Protocol::pair(Scanner::ChannelsThirtyTwo, Size::Small),
        &folder.join("study"),
    )?;
    let files: Vec<PathBuf> = study.files().map(Path::to_owned).collect();
    steps.advance(1);

    let stop = CancellationToken::new();
    let pacs = ReceivingAe::start(&folder.join("pacs"), stop.clone()).await?;
    let daemon_port = free_port()?;
    let config_file = write_config(&folder, daemon_port, pacs.port, &models)?;
    let mut daemon = DaemonProcess::start(&config_file, &folder.join("serve.log"))?;
    let call = Call {
        calling: AeTitle::parse("DEMO_MODALITY")?,
        peer: Peer { ae_title: AeTitle::parse(DAEMON_AE)?, host: "127.0.0.1".to_owned(), port: daemon_port },
        timeout: Duration::from_secs(30),
    };
    daemon.wait_until_it_answers(&call).await?;
    steps.advance(1);

    let sent = super::send::send_paths(&call, &files).await;
    if sent.stored != files.len() {
        bail!("the daemon stored {} of {} objects, see {}", sent.stored, files.len(), daemon.log.display());
    }
    steps.advance(1);
    let row = daemon.wait_for_results(&folder.join("spool"), &study.study_uid).await?;
    steps.advance(1);
    daemon.stop().await?;
    stop.cancel();
    drop(steps);

    let result = result_of(&folder.join("spool"), &study.study_uid).await?;
    let picture = folder.join("card.png");
    let received = pacs.received_files(&study.study_uid);
    write_card_picture(&received, &picture)?;
    report_to_the_user(&args, &folder, &row, &result, &received, &picture)
}

fn report_to_the_user(
    args: &Args,
    folder: &Path,
    row: &StudyRow,
    result: &serde_json::Value,
    received: &[PathBuf],
    picture: &Path,
) -> anyhow::Result<ExitCode> {
    if args.json {
        let document = serde_json::json!({
            "folder": folder, "study_uid": row.study_uid, "state": row.state, "result": result,
            "received_by_pacs": received, "picture": picture,
        });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        let probability = |name: &str| match result["probability"][name].as_f64() {
            Some(p) => format!("{:.1} %", p * 100.0),
            None => "none".to_owned(),
        };
        println!("A synthetic study went to the daemon and its results came back, all by C-STORE on this machine.");
        println!(
            "  probability  T1 {}, FLAIR {}, fused {}",
            probability("t1"),
            probability("flair"),
            probability("fused")
        );
        println!("  verdict      {}", row.verdict.as_deref().unwrap_or("none"));
        for reason in result["reasons"].as_array().into_iter().flatten() {
            println!("               {}", reason["text"].as_str().unwrap_or_default());
        }
        println!("  picture      {}", picture.display());
        println!("  study        {}", folder.join("study").display());
        println!("  results      {} objects in {}", received.len(), folder.join("pacs/studies").display());
        println!("  log          {}", folder.join("serve.log").display());
        println!("  ledger       fcdd studies list --config {}", folder.join("fcdd.toml").display());
        println!("Research use only. Not for diagnostic use. The subject is synthetic.");
    }
    Ok(if row.state == StudyState::Delivered { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Makes the folder, replacing that of an earlier demo but nothing else.
fn fresh_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.exists() {
        let is_empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if !is_empty && !folder.join(MARK).is_file() {
            bail!("{} is there and is not of an earlier demo; name another folder with --output", folder.display());
        }
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(folder.join(MARK), "")?;
    Ok(folder.canonicalize()?)
}

fn write_config(folder: &Path, port: u16, pacs_port: u16, models: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let models = models.iter().map(|m| m.canonicalize()).collect::<Result<Vec<_>, _>>()?;
    let document = toml::toml! {
        version = 1
        [assemble]
        quiet_s = 0.5
        [observe]
        log = "info"
    };
    let mut document = document;
    let table = |pairs: Vec<(&str, toml::Value)>| {
        toml::Value::Table(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let text = |t: &str| toml::Value::String(t.to_owned());
    document.insert(
        "receive".into(),
        table(vec![("ae_title", text(DAEMON_AE)), ("listen", text(&format!("127.0.0.1:{port}")))]),
    );
    document.insert(
        "spool".into(),
        table(vec![("directory", text(&folder.join("spool").to_string_lossy())), ("min_free_mib", 64.into())]),
    );
    let models = models.iter().map(|m| text(&m.to_string_lossy())).collect();
    document.insert("analyze".into(), table(vec![("models", toml::Value::Array(models))]));
    let pacs =
        table(vec![("ae_title", text(PACS_AE)), ("host", text("127.0.0.1")), ("port", i64::from(pacs_port).into())]);
    document.insert("destination".into(), table(vec![("pacs", pacs)]));
    let path = folder.join("fcdd.toml");
    std::fs::write(&path, toml::to_string(&document)?)?;
    Ok(path)
}

/// A port that nobody listens on right now.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The stand-in for the PACS: the daemon's own intake with a spool of its own.
struct ReceivingAe {
    port: u16,
    root: PathBuf,
}

impl ReceivingAe {
    async fn start(root: &Path, stop: CancellationToken) -> anyhow::Result<ReceivingAe> {
        let spool = Spool::open(root)?;
        let ledger = Ledger::open(&spool.ledger_path()).await?;
        let receive = config::Receive {
            ae_title: PACS_AE.to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ..config::Receive::default()
        };
        let steps = config::Spool { min_free_mib: 64, ..config::Spool::default() }.steps();
        let room = Arc::new(RoomWatch::new(spool.clone(), steps));
        let intake = Intake { spool, ledger, in_flight: InFlight::new(), room };
        let listener = Listener::bind(&receive, intake).await?;
        let port = listener.local_addr().port();
        tokio::spawn(listener.run(stop, Duration::from_secs(2)));
        Ok(ReceivingAe { port, root: root.to_owned() })
    }

    fn received_files(&self, study_uid: &Uid) -> Vec<PathBuf> {
        let folder = self.root.join("studies").join(study_uid.as_str());
        let mut files: Vec<PathBuf> = walkdir::WalkDir::new(folder)
            .into_iter()
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "dcm"))
            .map(|entry| entry.into_path())
            .collect();
        files.sort();
        files
    }
}

/// `fcdd serve` as a process of its own; killed when dropped.
struct DaemonProcess {
    child: Child,
    log: PathBuf,
}

impl DaemonProcess {
    fn start(config: &Path, log: &Path) -> anyhow::Result<DaemonProcess> {
        let output = std::fs::File::create(log)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start the daemon")?;
        Ok(DaemonProcess { child, log: log.to_owned() })
    }

    fn still_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the daemon ended with {status}:\n{}", log.trim_end())
            }
        }
    }

    async fn wait_until_it_answers(&mut self, call: &Call) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while scu::echo(call).await.is_err() {
            self.still_running()?;
            if Instant::now() > deadline {
                bail!("the daemon did not answer within two minutes, see {}", self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn wait_for_results(&mut self, spool: &Path, study_uid: &Uid) -> anyhow::Result<StudyRow> {
        let ledger = Ledger::open_existing(&spool.join("ledger.sqlite")).await?;
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let row = ledger.study(study_uid).await?;
            if matches!(row.state, StudyState::Delivered | StudyState::Failed | StudyState::NotForAnalysis) {
                ledger.close().await;
                return Ok(row);
            }
            self.still_running()?;
            if Instant::now() > deadline {
                bail!("the study is still {} after five minutes, see {}", row.state, self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the daemon did not stop within a minute, see {}", self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        // It has usually ended by now; if not, nobody else will end it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn result_of(spool: &Path, study_uid: &Uid) -> anyhow::Result<serde_json::Value> {
    let ledger = Ledger::open_existing(&spool.join("ledger.sqlite")).await?;
    let details = ledger.show_study(study_uid).await?;
    ledger.close().await;
    Ok(details.result.unwrap_or_default())
}

/// The card as the PACS received it, as PNG: three planes with the heatmap, probability and verdict.
fn write_card_picture(received: &[PathBuf], picture: &Path) -> anyhow::Result<()> {
    for file in received {
        let object = dicom_object::open_file(file)?;
        let is_picture = object.element_opt(tags::PIXEL_DATA)?.is_some();
        // The card is the one picture that lies nowhere in the patient.
        if !is_picture || object.element_opt(tags::IMAGE_POSITION_PATIENT)?.is_some() {
            continue;
        }
        let width = object.element(tags::COLUMNS)?.to_int()?;
        let height = object.element(tags::ROWS)?.to_int()?;
        let pixels = object.element(tags::PIXEL_DATA)?.to_bytes()?;
        let target = std::io::BufWriter::new(std::fs::File::create(picture)?);
        let mut encoder = png::Encoder::new(target, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let needed = width as usize * height as usize * 3;
        let pixels = pixels.get(..needed).context("the card is shorter than its size says")?;
        encoder.write_header()?.write_image_data(pixels)?;
        return Ok(());
    }
    bail!("no card came back among {} objects", received.len())
}
