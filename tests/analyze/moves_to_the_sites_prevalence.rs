//! `analyze.site_prevalence` moves the probabilities that are shown, never a verdict; where a model states no training
//! prevalence to move from, it does nothing and the result says so.

use fcdd::config;
use fcdd::study::{Analysis, Prior, Sequence};

use crate::analysis::{axial, engine, manifest, random_model, random_model_with_prevalence, settings, study, subject};

fn odds(p: f64) -> f64 {
    p / (1.0 - p)
}

fn close(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 1e-9
}

#[test]
fn shown_probabilities_move_and_decisions_stay() {
    let models = tempfile::tempdir().unwrap();
    let t1 = random_model_with_prevalence(models.path(), manifest(Sequence::T1, true), &[1, 2], 0.5);
    let flair = random_model_with_prevalence(models.path(), manifest(Sequence::Flair, true), &[3], 0.8);
    let unstated = random_model(models.path(), manifest(Sequence::Flair, true), &[3]);
    let (head, flair_head) = (subject(axial(), None), subject(axial(), None));
    let both = study(Some(head), Some(flair_head));
    let analyzed = |models: &[&std::path::PathBuf], site_prevalence: Option<f64>| -> Option<Analysis> {
        let models: Vec<_> = models.iter().map(|path| (*path).clone()).collect();
        let engine = engine(&config::Analyze { site_prevalence, ..settings(&models) })?;
        Some(engine.analyze(&both).unwrap())
    };
    let Some(plain) = analyzed(&[&t1, &flair], None) else { return };
    let site = analyzed(&[&t1, &flair], Some(0.1)).unwrap();
    let half = analyzed(&[&t1, &unstated], Some(0.1)).unwrap();

    // From one in two to one in ten divides odds by 9, from four in five by 36; together by their geometric mean, 18.
    for (index, factor) in [(0, 9.0), (1, 36.0)] {
        let (plain, site) = (&plain.outcomes[index], &site.outcomes[index]);
        assert!(close(odds(plain.probability) / odds(site.probability), factor), "{plain:?} {site:?}");
        assert!(close(odds(plain.threshold) / odds(site.threshold), factor));
        for (plain, site) in plain.fold_probabilities.iter().zip(&site.fold_probabilities) {
            assert!(close(odds(*plain) / odds(*site), factor));
        }
        assert_eq!((plain.logit, plain.decision), (site.logit, site.decision));
        assert_eq!((plain.probability, plain.threshold), (plain.decision.probability, plain.decision.threshold));
    }
    assert_eq!(plain.outcomes[0].prior, Prior::Training { prevalence: 0.5 });
    assert_eq!(site.outcomes[1].prior, Prior::Site { prevalence: 0.1, training_prevalence: 0.8 });
    let (plain_fused, site_fused) = (plain.fused.as_ref().unwrap(), site.fused.as_ref().unwrap());
    assert!(close(odds(plain_fused.probability) / odds(site_fused.probability), 18.0));
    assert!(close(odds(plain_fused.threshold) / odds(site_fused.threshold), 18.0));
    assert_eq!((plain_fused.logit, plain_fused.decision), (site_fused.logit, site_fused.decision));
    assert_eq!(plain.verdict, site.verdict);
    assert!(plain.remarks.is_empty() && site.remarks.is_empty());

    // The FLAIR model states none: its number and the fused one stay, and that is said.
    assert_eq!(half.outcomes[0].probability, site.outcomes[0].probability);
    assert_eq!(half.outcomes[1].probability, plain.outcomes[1].probability);
    assert_eq!(half.outcomes[1].prior, Prior::Unstated);
    let fused = half.fused.as_ref().unwrap();
    assert_eq!((fused.probability, fused.prior), (plain_fused.probability, Prior::Unstated));
    assert_eq!(half.remarks.len(), 1, "{:?}", half.remarks);
    assert_eq!(half.remarks[0].code, "site_prevalence_ignored_flair");
    assert!(half.remarks[0].text.contains("the site prevalence 0.1 is ignored for FLAIR"), "{}", half.remarks[0].text);
}
