"""Golden values of tests/research/statistics_agree_with_scipy.rs: scikit-learn, SciPy, statsmodels on made-up data."""
import json, sys
import numpy as np
from scipy import optimize, stats
from sklearn import linear_model, metrics
from statsmodels.stats import contingency_tables, multitest, proportion

rng = np.random.default_rng(7)
n = 120
y = rng.random(n) < 0.45
z = np.round(rng.normal(size=n) + 1.1 * y, 1)  # rounded: with ties
p = 1 / (1 + np.exp(-z))
call = z >= 0.5
x = np.c_[z, rng.normal(size=(n, 2))]
model = linear_model.LogisticRegression(C=2.0, tol=1e-12, max_iter=10000).fit(x, y)
pos, neg = y.sum(), (~y).sum()
target = np.where(y, (pos + 1) / (pos + 2), 1 / (neg + 2))
loss = lambda a, b: np.sum(np.logaddexp(0, a * z + b) - target * (a * z + b))
platt = optimize.minimize(lambda v: loss(*v), [1, 0], method="BFGS", options={"gtol": 1e-10}).x
heat = optimize.minimize_scalar(lambda s: loss(s, 0), bounds=(0.01, 10), method="bounded", options={"xatol": 1e-12}).x
ece, edges = 0.0, np.minimum((p * 10).astype(int), 9)
for b in range(10):
    if (edges == b).any():
        ece += (edges == b).mean() * abs(y[edges == b].mean() - p[edges == b].mean())
other = z + 2 * rng.normal(size=n) >= 0.8  # the discordant pairs must not split evenly
a_right, b_right = call == y, other == y
table = [[(a_right & b_right).sum(), (a_right & ~b_right).sum()], [(~a_right & b_right).sum(), (~a_right & ~b_right).sum()]]
exact = float(contingency_tables.mcnemar(table, exact=True).pvalue)
few, many = sorted([table[0][1], table[1][0]])
assert few < many
first, second = rng.normal(size=6), rng.normal(size=6) + 0.5
t = stats.ttest_rel(first, second)
ps = [0.01, 0.04, 0.03, 0.005, 0.5]
json.dump({
    "labels": y.tolist(), "logits": z.tolist(), "rows": x.tolist(), "other_calls": other.tolist(),
    "auc": metrics.roc_auc_score(y, z), "brier": metrics.brier_score_loss(y, p), "ece": ece,
    "accuracy": metrics.accuracy_score(y, call), "balanced_accuracy": metrics.balanced_accuracy_score(y, call),
    "f1": metrics.f1_score(y, call), "precision": metrics.precision_score(y, call), "recall": metrics.recall_score(y, call),
    "intercept": float(model.intercept_[0]), "weights": model.coef_[0].tolist(),
    "platt": platt.tolist(), "temperature": 1 / heat,
    "wilson": list(proportion.proportion_confint(17, 20, method="wilson")),
    "mcnemar_exact": exact, "mcnemar_mid": float(2 * stats.binom.cdf(few, few + many, 0.5) - stats.binom.pmf(few, few + many, 0.5)),
    "first": first.tolist(), "second": second.tolist(), "t": float(t.statistic), "t_p": float(t.pvalue),
    "p_values": ps, "holm": multitest.multipletests(ps, method="holm")[1].tolist(),
}, open(sys.argv[1], "w"), indent=0, default=float)
