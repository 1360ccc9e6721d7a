//! What a configuration that parses must still fulfil.

use regex::RegexBuilder;

use super::load::{Document, Mistake};
use super::{Config, Destination};
use crate::dicom::Uid;
use crate::network::logit::log_odds;

/// Whoever waits longer for an answer has made a mistake (s).
const LONGEST_WAIT_S: u64 = 86_400;

impl Config {
    pub(super) fn validate(&self, document: &Document<'_>, mistakes: &mut Vec<Mistake>) {
        let mut check = Check { document, mistakes };
        check.that(self.version == 1, &["version"], "must be 1 (the only format version there is)");
        self.validate_receive(&mut check);
        check.that(
            !self.spool.directory.as_os_str().is_empty(),
            &["spool", "directory"],
            "must name the directory of the spool and the ledger, e.g. \"/var/lib/fcdd\"",
        );
        let steps = self.spool.steps();
        check.that(
            steps.reserve_mib <= steps.min_mib,
            &["spool", "reserve_free_mib"],
            "must be at most spool.min_free_mib",
        );
        check.that(steps.min_mib <= steps.warn_mib, &["spool", "warn_free_mib"], "must be at least spool.min_free_mib");
        let assemble = &self.assemble;
        check.that(
            assemble.quiet_s > 0.0 && assemble.quiet_s.is_finite(),
            &["assemble", "quiet_s"],
            "must be a number of seconds above 0",
        );
        check.that(
            assemble.max_wait_s >= assemble.quiet_s,
            &["assemble", "max_wait_s"],
            "must be at least assemble.quiet_s",
        );
        check.wait(assemble.decode_timeout_s, &["assemble", "decode_timeout_s"]);
        check.that(assemble.decode_memory_mib >= 256, &["assemble", "decode_memory_mib"], "must be at least 256");
        for rule in &assemble.admission {
            let patterns = [&rule.calling_ae, &rule.study_description, &rule.protocol, &rule.series_description];
            check.that(
                patterns.iter().any(|p| p.is_some()),
                &["assemble", "admission"],
                "has a rule without any pattern: give calling_ae, study_description, protocol or series_description",
            );
            for pattern in patterns.into_iter().flatten() {
                check.pattern(pattern, &["assemble", "admission"]);
            }
        }
        let analyze = &self.analyze;
        check.that(
            !analyze.models.is_empty(),
            &["analyze", "models"],
            "must name at least one model folder, e.g. [\"models/demo-t1\", \"models/demo-flair\"]",
        );
        check.that(
            (0.0..=1.0).contains(&analyze.fused_threshold),
            &["analyze", "fused_threshold"],
            "must lie between 0 and 1",
        );
        let [scale, offset] = analyze.fused_calibration;
        check.that(
            scale > 0.0 && scale.is_finite() && offset.is_finite(),
            &["analyze", "fused_calibration"],
            "must be [scale, offset] with a scale above 0, e.g. [1.0, 0.0]",
        );
        check.that(
            analyze.site_prevalence.is_none_or(|p| log_odds(p).is_some()),
            &["analyze", "site_prevalence"],
            "must lie above 0 and below 1, e.g. 0.05 for one patient in twenty",
        );
        check.that(analyze.max_attempts >= 1, &["analyze", "max_attempts"], "must be at least 1");
        let report = &self.report;
        check.that(
            report.heatmap_alpha > 0.0 && report.heatmap_alpha <= 1.0,
            &["report", "heatmap_alpha"],
            "must lie above 0 and at most at 1",
        );
        check.that(
            (0.0..1.0).contains(&report.heatmap_threshold),
            &["report", "heatmap_threshold"],
            "must lie between 0 and 1",
        );
        for (name, destination) in &self.destinations {
            validate_destination(name, destination, &mut check);
        }
        check.that(
            tracing_subscriber::EnvFilter::try_new(&self.observe.log).is_ok(),
            &["observe", "log"],
            "must be error, warn, info, debug, trace or a filter such as \"info,fcdd::receive=debug\"",
        );
        check.that(
            (0.0..=LONGEST_WAIT_S as f64).contains(&self.observe.drain_s),
            &["observe", "drain_s"],
            "must lie between 0 and 86400 (a day)",
        );
        self.research.validate(&mut check);
        if let Some(mail) = &self.mail {
            mail.validate(&mut check);
        }
    }

    fn validate_receive(&self, check: &mut Check<'_, '_>) {
        let receive = &self.receive;
        check.ae_title(&receive.ae_title, &["receive", "ae_title"]);
        for title in &receive.called_ae_titles {
            check.ae_title(title, &["receive", "called_ae_titles"]);
        }
        for title in &receive.allowed_calling_ae_titles {
            check.ae_title(title, &["receive", "allowed_calling_ae_titles"]);
        }
        for uid in &receive.sop_classes {
            check.that(
                Uid::parse(uid).is_ok(),
                &["receive", "sop_classes"],
                &format!("has {uid:?}, which is not a SOP class UID"),
            );
        }
        check.that(!receive.sop_classes.is_empty(), &["receive", "sop_classes"], "must not be empty");
        check.that(receive.max_associations >= 1, &["receive", "max_associations"], "must be at least 1");
        check.that(
            receive.max_associations_per_peer >= 1,
            &["receive", "max_associations_per_peer"],
            "must be at least 1",
        );
        check.that(
            (16_384..=16_777_216).contains(&receive.max_pdu_bytes),
            &["receive", "max_pdu_bytes"],
            "must lie between 16384 and 16777216 (131072 suits every sender that we know)",
        );
        check.that(receive.max_object_mib >= 1, &["receive", "max_object_mib"], "must be at least 1");
        let waits = [
            ("association_request_timeout_s", receive.association_request_timeout_s),
            ("idle_timeout_s", receive.idle_timeout_s),
            ("object_timeout_s", receive.object_timeout_s),
            ("association_timeout_s", receive.association_timeout_s),
        ];
        for (key, seconds) in waits {
            check.that(seconds >= 1, &["receive", key], "must be at least 1");
        }
    }
}

fn validate_destination(name: &str, destination: &Destination, check: &mut Check<'_, '_>) {
    let key = |field: &'static str| ["destination", name, field];
    check.ae_title(&destination.ae_title, &key("ae_title"));
    check.that(!destination.host.is_empty(), &key("host"), "must be a host name or an address");
    check.that(destination.port != 0, &key("port"), "must be a port between 1 and 65535");
    if let Some(title) = &destination.calling_ae_title {
        check.ae_title(title, &key("calling_ae_title"));
    }
    check.that(
        !destination.objects.is_empty(),
        &key("objects"),
        "must name at least one of card, heatmap-t1, heatmap-flair, report",
    );
    if let Some(pattern) = &destination.only_study_description {
        check.pattern(pattern, &key("only_study_description"));
    }
    check.wait(destination.timeout_s, &key("timeout_s"));
    check.that(destination.retry_s > 0.0 && destination.retry_s.is_finite(), &key("retry_s"), "must be above 0");
    check.that(destination.max_retry_s >= destination.retry_s, &key("max_retry_s"), "must be at least retry_s");
}

/// Collects what is wrong.
pub(super) struct Check<'a, 't> {
    document: &'a Document<'t>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Check<'_, '_> {
    pub(super) fn that(&mut self, holds: bool, key: &[&str], otherwise: &str) {
        let line = self.document.line_of(key);
        let key = key.join(".");
        // A value that did not even parse was replaced by its default: one complaint about it is enough.
        if !holds && !self.mistakes.iter().any(|m| m.key == key) {
            self.mistakes.push(Mistake { line, key, what: otherwise.to_owned() });
        }
    }

    /// A wait in whole seconds, and one that an addition to a clock survives.
    pub(super) fn wait(&mut self, seconds: u64, key: &[&str]) {
        self.that((1..=LONGEST_WAIT_S).contains(&seconds), key, "must lie between 1 and 86400 (a day)");
    }

    fn ae_title(&mut self, title: &str, key: &[&str]) {
        let valid = (1..=16).contains(&title.len())
            && !title.trim().is_empty()
            && title.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'\\');
        self.that(valid, key, "must be an AE title: 1 to 16 printable ASCII characters, no backslash");
    }

    fn pattern(&mut self, pattern: &str, key: &[&str]) {
        if let Err(error) = RegexBuilder::new(pattern).case_insensitive(true).build() {
            self.that(false, key, &format!("has the pattern {pattern:?}, which is no regular expression: {error}"));
        }
    }
}
