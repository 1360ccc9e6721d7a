//! The report's statistics equal scikit-learn, SciPy and statsmodels (`golden/statistics_golden.py`, made-up data).

use fcdd::research::statistics::logistic::Logistic;
use fcdd::research::statistics::*;
use serde_json::Value;

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn flags(v: &Value) -> Vec<bool> {
    v.as_array().unwrap().iter().map(|x| x.as_bool().unwrap()).collect()
}

#[test]
fn statistics_agree_with_scipy() {
    let golden: Value = serde_json::from_str(include_str!("../golden/statistics_golden.json")).unwrap();
    let close = |name: &str, ours: f64, expected: &Value, tolerance: f64| {
        let expected = expected.as_f64().unwrap();
        assert!((ours - expected).abs() < tolerance, "{name}: {ours} instead of {expected}");
    };
    let (labels, logits) = (flags(&golden["labels"]), numbers(&golden["logits"]));
    let p: Vec<f64> = logits.iter().map(|&z| sigmoid(z)).collect();
    close("auc", auc(&labels, &logits).unwrap(), &golden["auc"], 1e-12);
    close("brier", brier(&labels, &p).unwrap(), &golden["brier"], 1e-12);
    close("ece", calibration_error(&labels, &p, 10).unwrap().0, &golden["ece"], 1e-12);
    let counts = Confusion::at(&labels, &logits, 0.5).unwrap();
    close("accuracy", counts.accuracy().unwrap(), &golden["accuracy"], 1e-12);
    close("balanced", counts.balanced_accuracy().unwrap(), &golden["balanced_accuracy"], 1e-12);
    close("f1", counts.f1().unwrap(), &golden["f1"], 1e-12);
    close("precision", counts.precision().unwrap(), &golden["precision"], 1e-12);
    close("recall", counts.sensitivity().unwrap(), &golden["recall"], 1e-12);

    let rows: Vec<Vec<f64>> = golden["rows"].as_array().unwrap().iter().map(numbers).collect();
    let targets: Vec<f64> = labels.iter().map(|&l| f64::from(u8::from(l))).collect();
    let fitted = Logistic::fit(&rows, &targets, 0.5).unwrap();
    close("intercept", fitted.intercept, &golden["intercept"], 1e-5);
    for (i, w) in fitted.weights.iter().enumerate() {
        close("weight", *w, &golden["weights"][i], 1e-5);
    }
    let platt = Platt::fit(&labels, &logits).unwrap();
    close("slope", platt.slope, &golden["platt"][0], 1e-5);
    close("offset", platt.offset, &golden["platt"][1], 1e-5);
    close("temperature", Temperature::fit(&labels, &logits).unwrap().temperature, &golden["temperature"], 1e-5);

    let interval = wilson(17, 20, 0.95).unwrap();
    close("wilson", interval.lower, &golden["wilson"][0], 1e-9);
    close("wilson", interval.upper, &golden["wilson"][1], 1e-9);
    let right: Vec<bool> = labels.iter().zip(&logits).map(|(&l, &z)| (z >= 0.5) == l).collect();
    let other: Vec<bool> = labels.iter().zip(flags(&golden["other_calls"])).map(|(&l, c)| c == l).collect();
    let test = mcnemar(&right, &other).unwrap();
    close("McNemar", test.p_exact, &golden["mcnemar_exact"], 1e-12);
    close("mid-p", test.p_mid, &golden["mcnemar_mid"], 1e-12);
    let t = paired_t_test(&numbers(&golden["first"]), &numbers(&golden["second"])).unwrap();
    close("t", t.t, &golden["t"], 1e-9);
    close("p", t.p, &golden["t_p"], 1e-9);
    for (i, p) in holm(&numbers(&golden["p_values"])).unwrap().into_iter().enumerate() {
        close("Holm", p, &golden["holm"][i], 1e-12);
    }
}
