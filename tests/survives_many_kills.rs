//! `kill -9` at random instants of receiving, analysis and delivery, many times over: what a sender was told is safe is
//! in the spool byte for byte, each result is in the PACS once, nothing is stuck. A kill counts for a stage only if the
//! ledger that the killed process left proves that it hit there.
//!
//! `FCDD_KILLS` says how many kills are wanted, all stages and campaigns together (`make test-kill`: 1,000),
//! `FCDD_KILL_SEED` which random instants.

#[path = "support/kill/mod.rs"]
mod kill;
#[path = "support/scripted_peer/mod.rs"]
mod scripted_peer;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fcdd::ledger::StudyState;
use kill::{Evidence, SentLog, Sink, Stage, Study, cheap_configuration, compare, send};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Daemon, Exit, Killed, files_below, require_onnxruntime, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A study is not complete before this, while it is being sent: restarts must not make half of it complete.
const QUIET_WHILE_SENDING_S: f64 = 3600.0;
/// A study is complete at the next start.
const QUIET_S: f64 = 0.001;

/// Campaigns that go on at the same time, each with a daemon, a sender and a PACS of its own: a start mostly waits.
const CAMPAIGNS: u64 = 3;

#[test]
fn at_random_instants_of_every_stage() {
    let Some(_) = require_onnxruntime() else { return };
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let wanted = number("FCDD_KILLS").unwrap_or(180).div_ceil(3 * CAMPAIGNS);
    let seed = number("FCDD_KILL_SEED").unwrap_or(1);
    std::thread::scope(|scope| {
        // A campaign that fails fails the scope when all have ended.
        (0..CAMPAIGNS).for_each(|number| drop(scope.spawn(move || run_campaign(seed * CAMPAIGNS + number, wanted))));
    });
}

/// Kills until each stage was hit `wanted` times, then compares all books.
fn run_campaign(seed: u64, wanted: u64) {
    let begun = Instant::now();
    let mut campaign = Campaign::start(seed, wanted);
    while campaign.proven.iter().any(|proven| *proven < wanted) {
        assert!(campaign.studies.len() < 10 + 3 * wanted as usize, "too few kills hit a stage: {}", campaign.table());
        campaign.take_one_study_through();
    }
    for study_uid in campaign.studies.clone() {
        campaign.daemon().wait_for_state(&study_uid, "delivered", PATIENCE);
    }
    let (exit, stopped) = campaign.daemon.take().expect("it runs").stop(PATIENCE);
    assert_eq!(exit, Exit::Status(0));

    let findings = compare(&stopped.spool(), &campaign.studies, &campaign.sent, &campaign.sink);
    // In one piece: other campaigns print as well.
    println!(
        "campaign of seed {seed}: {}\n\
         studies {}, objects acknowledged {}, results in the PACS {}, of these sent again {}\n\
         lost {}, doubled {}, stuck {}; {:.0} s",
        campaign.table(),
        campaign.studies.len(),
        findings.acknowledged,
        findings.delivered,
        findings.sent_again,
        findings.lost.len(),
        findings.doubled.len(),
        findings.stuck.len(),
        begun.elapsed().as_secs_f64(),
    );
    let wrong: Vec<&String> = [&findings.lost, &findings.doubled, &findings.stuck].into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(findings.associations_lost as u64, campaign.associations_lost);
    assert_eq!(findings.delivered, campaign.studies.len() * Study::RESULTS);
    what_is_wrong_is_found(&stopped.spool(), &campaign);
}

/// A comparison that finds nothing proves something only if it would have found something.
fn what_is_wrong_is_found(spool: &Path, campaign: &Campaign) {
    let some_file = |place: &str, wanted: &str| {
        let files = files_below(&spool.join(place).join(&campaign.studies[0]));
        files.into_iter().find(|file| file.to_string_lossy().ends_with(wanted)).expect("there are some")
    };
    std::fs::remove_file(some_file("studies", ".dcm")).unwrap();
    let result = some_file("results", ".dcm");
    let mut bytes = std::fs::read(&result).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&result, bytes).unwrap();
    std::fs::write(spool.join("incoming/1-1.part"), "").unwrap();
    let findings = compare(spool, &campaign.studies, &campaign.sent, &campaign.sink);
    assert_eq!([findings.lost.len(), findings.doubled.len(), findings.stuck.len()], [1, 1, 1], "{findings:#?}");
}

/// How long a stage takes, as far as is known: a kill comes at an instant within it, each as likely as any other.
struct Window {
    length: Duration,
}

impl Window {
    fn instant(&self, random: &mut ChaCha8Rng) -> Duration {
        self.length.mul_f64(random.random())
    }

    /// A kill that came too late makes the window shorter, a hit longer: most instants hit, and the end is not left out.
    /// One that came too early makes it longer too, or it might shrink to what is before the stage.
    fn learn(&mut self, hit: bool, too_late: bool) {
        let factor = match (hit, too_late) {
            (true, _) => 1.05,
            (false, true) => 0.9,
            (false, false) => 1.02,
        };
        self.length = self.length.mul_f64(factor);
    }
}

struct Campaign {
    /// `None` only between a kill and the start after it.
    daemon: Option<Daemon>,
    /// Length of the log when it started.
    log_start: usize,
    sink: Sink,
    sent: SentLog,
    studies: Vec<String>,
    random: ChaCha8Rng,
    seed: u64,
    wanted: u64,
    windows: [Window; 3],
    /// Kills that the ledger proves, by stage.
    proven: [u64; 3],
    /// Kills that hit between stages.
    between: u64,
    associations_lost: u64,
}

impl Campaign {
    fn start(seed: u64, wanted: u64) -> Campaign {
        let sink = Sink::start();
        let configuration = cheap_configuration()
            .set("assemble.quiet_s", QUIET_WHILE_SENDING_S)
            .set("assemble.max_wait_s", QUIET_WHILE_SENDING_S)
            // What is killed this often in analysis fails, by design, and with a report that says so.
            .set("analyze.max_attempts", 1_000_000)
            .destination("sink", Sink::AE_TITLE, sink.port);
        Campaign {
            daemon: Some(Daemon::start(configuration)),
            log_start: 0,
            sink,
            sent: SentLog::default(),
            studies: Vec::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            seed,
            wanted,
            windows: [150, 250, 200].map(|ms| Window { length: Duration::from_millis(ms) }),
            proven: [0; 3],
            between: 0,
            associations_lost: 0,
        }
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("it runs")
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.daemon().port()))
    }

    /// How often a study is to be killed in a stage.
    fn strikes(&mut self, stage: Stage) -> u32 {
        if self.proven[stage as usize] >= self.wanted { 0 } else { self.random.random_range(1..=3) }
    }

    fn take_one_study_through(&mut self) {
        // Studies of other seeds have other UIDs; those of two runs need not be the same.
        let study = Arc::new(Study::new(self.seed * 100_000 + self.studies.len() as u64));
        self.studies.push(study.study_uid.clone());
        self.receive(&study);
        // Everything is acknowledged and nothing is complete yet: the next start makes it so.
        self.strike(&study, Duration::ZERO, |_| QUIET_S);
        self.between += 1;
        self.analyze(&study);
        self.deliver(&study);
    }

    fn receive(&mut self, study: &Arc<Study>) {
        for _ in 0..self.strikes(Stage::Receive) {
            if self.sent.unanswered(study).is_empty() {
                break;
            }
            let sending = self.send(study);
            let wait = self.windows[0].instant(&mut self.random);
            let evidence = self.strike(study, wait, |_| QUIET_WHILE_SENDING_S);
            let was_cut = !sending.wait();
            self.count(Stage::Receive, was_cut && evidence.open_associations > 0, !was_cut);
        }
        assert!(self.send(study).wait());
        assert_eq!(self.sent.unanswered(study), [] as [usize; 0]);
    }

    /// Sends what lacks its answer, or everything again: senders do the one or the other.
    fn send(&mut self, study: &Arc<Study>) -> kill::Sending {
        let everything = (0..study.objects.len()).collect();
        let places = if self.random.random() { everything } else { self.sent.unanswered(study) };
        send(self.address(), study, places, &self.sent)
    }

    /// The daemon has just started, and takes the study to analysis at once.
    fn analyze(&mut self, study: &Study) {
        let is_past = |evidence: &Evidence| {
            matches!(evidence.state, Some(StudyState::Reported | StudyState::Delivered | StudyState::Failed))
        };
        for _ in 0..self.strikes(Stage::Analysis) {
            let wait = self.windows[1].instant(&mut self.random);
            let quiet_s = |evidence: &Evidence| if is_past(evidence) { QUIET_WHILE_SENDING_S } else { QUIET_S };
            let evidence = self.strike(study, wait, quiet_s);
            self.count(Stage::Analysis, evidence.analyzing > 0, is_past(&evidence));
            if is_past(&evidence) {
                return;
            }
        }
        // A kill between the record of a result and the ledger's rows leaves the rows to the next start, and no analysis.
        let signs = [format!("reported study=\"{}\"", study.study_uid), "results_missing_in_ledger=1".to_owned()];
        wait_until("the study is reported", PATIENCE, || {
            let log = self.daemon().log();
            signs.iter().any(|sign| log[self.log_start..].contains(sign.as_str())).then_some(())
        });
    }

    /// The daemon is delivering, or begins to.
    fn deliver(&mut self, study: &Study) {
        for _ in 0..self.strikes(Stage::Delivery).max(1) {
            let wait = self.windows[2].instant(&mut self.random);
            let evidence = self.strike(study, wait, |_| QUIET_WHILE_SENDING_S);
            let is_past = evidence.state == Some(StudyState::Delivered);
            self.count(Stage::Delivery, evidence.partly_delivered > 0, is_past);
            if is_past {
                return;
            }
        }
    }

    /// Enters a kill that was meant for a stage.
    fn count(&mut self, stage: Stage, is_proven: bool, came_too_late: bool) {
        let window = &mut self.windows[stage as usize];
        if is_proven {
            self.proven[stage as usize] += 1;
        } else {
            self.between += 1;
        }
        window.learn(is_proven, came_too_late);
    }

    /// Kills after a wait, reads what was hit, starts again, and sees that the start says and does what it should.
    fn strike(&mut self, study: &Study, wait: Duration, quiet_s: impl Fn(&Evidence) -> f64) -> Evidence {
        std::thread::sleep(wait);
        let killed = self.daemon.take().expect("it runs").kill();
        let evidence = Evidence::read(&killed.spool(), &study.study_uid);
        self.associations_lost += evidence.open_associations;
        self.start_again(killed, &evidence, quiet_s(&evidence));
        evidence
    }

    fn start_again(&mut self, killed: Killed, evidence: &Evidence, quiet_s: f64) {
        let log_before = killed.log().len();
        let daemon = Daemon::start(killed.configuration().set("assemble.quiet_s", quiet_s));
        self.log_start = log_before;
        let log = daemon.log()[log_before..].to_owned();
        let taken_up = log.lines().find(|line| line.contains("took up what the last run left")).unwrap_or_default();
        let count = |field: &str| -> u64 {
            let value = taken_up.split(' ').find_map(|part| part.strip_prefix(field)?.strip_prefix('='));
            value.map_or(0, |value| value.parse().expect("a count"))
        };
        assert_eq!(count("associations_lost"), evidence.open_associations, "{log}");
        // An analysis that had written its record is entered and not begun again.
        let analyses = count("interrupted_analyses") + count("results_missing_in_ledger");
        assert_eq!(analyses, evidence.analyzing as u64, "{log}");

        let ours = daemon.id().to_string();
        for place in ["incoming", "results"] {
            for file in files_below(&daemon.spool().join(place)) {
                let name = file.file_name().and_then(|name| name.to_str()).expect("names are UTF-8");
                let process = name
                    .rsplit_once(".tmp")
                    .map(|(_, process)| process)
                    .or(name.strip_suffix(".part").and_then(|stem| stem.split('-').next()));
                assert!(process.is_none_or(|process| process == ours), "{} was left", file.display());
            }
        }
        self.daemon = Some(daemon);
    }

    fn table(&self) -> String {
        let mut table = String::from("kills that the ledger proves:\n");
        for stage in Stage::ALL {
            let (proven, window) = (self.proven[stage as usize], &self.windows[stage as usize]);
            table += &format!("  {:<16}{proven:>6}   within {:.0?}\n", stage.name(), window.length);
        }
        table += &format!("  {:<16}{:>6}\n", "between stages", self.between);
        table + &format!("  {:<16}{:>6}", "all", self.between + self.proven.iter().sum::<u64>())
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("broken off; {}", self.table());
        }
    }
}
