"""How often the confound report fails and passes whom it should, on synthetic cohorts. `make confound-rates` runs it.

For each seed two cohorts are made and networks are trained on their FLAIR by cross-validation:

- confounded, lesions of strength 0: patients have nothing to be seen, but half of them come from another scanner than
  all controls, and only they may be children. The report must fail whatever was learned here.
- balanced, lesions of strength 1: nothing but the lesion tells patients from controls. The report should pass.

The verdict is `confounds.passed` of RUN/metrics.json; what makes it is described in src/research/confounds. It is
counted as "not decidable" where it is false only because some condition could not be assessed and no other one failed.

Both designs are trained alike, so that they differ by nothing but the cohort. Eighty subjects are too few to learn a
lesion from, so every run begins with the same network, which has learned it beforehand from a larger balanced cohort
that shares no head with the judged ones: rates and their intervals are about cohorts, with that network given. The
judged runs go on without --lesion-guidance, by labels alone, as that leaves them free to learn the scanner. Whether
they did is in the last column of the table: a network that learned nothing fails too, and says less about the report.

Eighty subjects because the first condition asks for a lower bound: of made-up scores that are independent of the
metadata, those with an AUC of 0.85 passed in 98 % of cohorts of 80 and in 85 % of cohorts of 60, those with 0.80 in
81 % and 65 %. Three folds because only subjects of the same fold and scanner are compared: large folds hold more pairs.

Nothing but Python's standard library is needed. A finished seed is not done again; what was stopped goes on when
called again in the same way. Results are in OUTPUT/rates.json (the table in rates.md), each run with its report
in OUTPUT/DESIGN-SEED/run. Subjects are deleted when their run is done: at most 6 GB are needed at a time.

    python3 benches/confound_rates.py --fcdd target/release/fcdd --output target/confound-rates
"""

import argparse
import csv
import fcntl
import hashlib
import json
import math
import os
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

# Design and strength of the lesions, in the order in which each seed does them.
DESIGNS = {"confounded": 0, "balanced": 1}
VERDICTS = ["passed", "failed", "not decidable"]
# Of the cohort for the network to begin with: the judged cohorts' seeds are counted from 1.
START_SEED = 0
# Serial number of the phantom's older scanner, from which in a confounded cohort only patients come.
OLDER_SCANNER = "900002"
# Validation AUC below which the network to begin with knows too little of the lesion for a fair judgement.
KNOWS_LESIONS = 0.8

# Half the demonstration models' resolution: lesions of strength 1 show there too, and a cohort takes minutes.
# One thread: so small a network gains nothing from a second, and loses much where cores are shared.
NETWORK = "--architecture resnet10 --width 8 --input 40,48,40 --spacing 4 --threads 1"
# Only the first of the folds is trained: 19 of 20 subjects for training and validation.
START_TRAINING = (
    "--folds 20 --fold 0 --epochs 24 --learning-rate 3e-3 --decay cosine --rotation 5 --augment flip"
    " --lesion-guidance 1"
)
# Everything learns, or the network could not pick up the scanner; variation of protocol and intensity would hide it.
TRAINING = "--trainable all --folds 3 --epochs 10 --learning-rate 1e-3 --decay cosine --rotation 5 --augment flip"


class Failed(Exception):
    """Something did not work out; the message says what to do."""


def main():
    arguments = parse()
    # A scheduler's way to stop a process shall also stop what it started, see `call`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    lock = open(output / "lock", "w")  # held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print(f"{output} is in use by another measurement", file=sys.stderr)
        return 2
    settings = {
        "subjects": arguments.subjects,
        "network": arguments.network,
        "training": arguments.training,
        "start": {"sha256": sha256(arguments.start)}
        if arguments.start
        else {"subjects": arguments.start_subjects, "training": arguments.start_training},
    }
    if differs := other_settings(output / "settings.json", settings):
        print(f"{output} was begun with other settings ({differs}): give another --output, or those", file=sys.stderr)
        return 2

    status = 0
    try:
        start = arguments.start or start_network(arguments, output)
        for seed in range(1, arguments.seeds + 1):
            for design in DESIGNS:
                judge(arguments, output, design, seed, start)
                write_json(output / "rates.json", summary(output, settings, arguments.seeds))
    except Failed as error:
        print(f"{error}\nWhat is done is kept; the same call goes on.", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("\nstopped; what is done is kept, the same call goes on", file=sys.stderr)
        status = 1
    found = summary(output, settings, arguments.seeds)
    write_json(output / "rates.json", found)
    (output / "rates.md").write_text(table(found))
    print(f"\n{table(found)}")
    print(output / "rates.json")
    return status


def parse():
    parser = argparse.ArgumentParser(
        description="How often the confound report fails and passes whom it should, on synthetic cohorts.",
        epilog="A finished seed is not done again: the same call goes on, a larger --seeds adds more.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = parser.add_argument
    option("--fcdd", type=Path, default=Path("target/release/fcdd"), help="the program, its trainer beside it")
    option("--output", type=Path, default=Path("target/confound-rates"), help="folder of the measurement")
    option("--seeds", type=int, default=20, metavar="N", help="seeds 1 to N, both designs for each")
    option("--subjects", type=int, default=80, metavar="N", help="of a judged cohort, half of them patients")
    option("--network", default=NETWORK, metavar="ARGUMENTS", help="of retrain: shape of all networks")
    option("--training", default=TRAINING, metavar="ARGUMENTS", help="of retrain, for the judged runs")
    option("--start", type=Path, metavar="FILE", help="checkpoint_best of that shape to begin with, not a new one")
    option("--start-subjects", type=int, default=400, metavar="N", help="of the cohort for a new one")
    option("--start-training", default=START_TRAINING, metavar="ARGUMENTS", help="of retrain, for a new one")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error("--seeds: at least 1")
    for file in [arguments.fcdd, *([arguments.start] if arguments.start else [])]:
        if not file.is_file():
            parser.error(f"{file} is not there")
    # Before the first child: it is started with this path, and its run remembers the other.
    arguments.fcdd = arguments.fcdd.resolve()
    arguments.start = arguments.start and arguments.start.resolve()
    return arguments


def other_settings(path, settings):
    """The names of the settings that an earlier call had otherwise; keeps them if there was none."""
    if not path.exists():
        write_json(path, settings)
    earlier = json.loads(path.read_text())
    return ", ".join(name for name in settings if settings[name] != earlier.get(name))


def start_network(arguments, output):
    """The network that all runs begin with; trained if it is not there yet."""
    folder = output / "start"
    checkpoint = folder / "run" / "fold_0" / "checkpoint_best"
    # The fold writes its predictions last; its checkpoint_best is there from the first epoch on.
    if not (folder / "run" / "fold_0" / "predictions.csv").exists():
        print(f"the network to begin with: {arguments.start_subjects} subjects", flush=True)
        cohort = make_cohort(arguments, folder, "balanced", START_SEED, arguments.start_subjects)
        retrain(arguments, folder, cohort, START_SEED, arguments.start_training)
    forget_subjects(folder)
    return checkpoint


def validation_auc(checkpoint):
    """Of the epoch that was kept; none where the run's history is not beside the checkpoint."""
    try:
        with open(checkpoint.with_name("history.csv"), newline="") as file:
            epochs = list(csv.DictReader(file))
        kept = min(epochs, key=lambda epoch: float(epoch["validation_loss"]))
        return float(kept["validation_auc"])
    except (OSError, ValueError, KeyError):
        return None


def judge(arguments, output, design, seed, start):
    """Makes a cohort, trains on it and keeps what the report says."""
    folder = output / f"{design}-{seed:03}"
    result = folder / "result.json"
    if result.exists():
        forget_subjects(folder)
        return
    began, cpu = time.monotonic(), children_cpu_s()
    cohort = make_cohort(arguments, folder, design, seed, arguments.subjects)
    retrain(arguments, folder, cohort, seed, arguments.training, "--weights", str(start))
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    confounds = metrics["confounds"]
    found = {
        "design": design,
        "strength": DESIGNS[design],
        "seed": seed,
        "verdict": verdict(confounds),
        "subjects": metrics["metrics"]["subjects"],
        "patients": metrics["metrics"]["patients"],
        "auc": metrics["metrics"]["auc"],
        "start_validation_auc": validation_auc(start),
        "confounds": confounds,
        # Of the last call, when it was stopped in between.
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s": round(children_cpu_s() - cpu, 1),
        # Verdicts of different programs must not be mixed unnoticed.
        "fcdd_sha256": sha256(arguments.fcdd),
    }
    write_json(result, found)
    forget_subjects(folder)
    print(
        f"{design} seed {seed}: {found['verdict']}; AUC {number(model_auc(found))}, metadata "
        f"{number(metadata_auc(found))}, same scanner {number(same_scanner_auc(found))}; {found['wall_s']:.0f} s",
        flush=True,
    )


def verdict(confounds):
    """One of VERDICTS. A condition that was assessed and does not hold decides, whatever else is unknown."""
    if confounds is None:
        return "not decidable"
    if confounds["passed"]:
        return "passed"
    failed = any(not check["passed"] and check["figure"] is not None for check in confounds["checks"])
    return "failed" if failed else "not decidable"


def make_cohort(arguments, folder, design, seed, subjects):
    """Its folder; made if it is not there yet."""
    cohort, unfinished = folder / "cohort", folder / "cohort.part"
    if cohort.exists():
        return cohort
    folder.mkdir(exist_ok=True)
    shutil.rmtree(unfinished, ignore_errors=True)
    said = ["--cohort", design, "--strength", str(DESIGNS[design]), "--seed", str(seed), "--subjects", str(subjects)]
    call(folder, arguments.fcdd, "phantom", "--output", unfinished, "--format", "bids", "--size", "small", *said)
    unfinished.rename(cohort)
    return cohort


def retrain(arguments, folder, cohort, seed, training, *more):
    """Trains, goes on where it was stopped, and makes the report when all folds are done."""
    places = ["--archive", cohort, "--output", folder / "run", "--cache", folder / "cache"]
    said = ["--modality", "flair", "--seed", str(seed), *shlex.split(arguments.network), *shlex.split(training), *more]
    call(folder, arguments.fcdd, "admin", "retrain", *places, "--resume", *said)


def call(folder, *command):
    """Runs a program to its end, what it says goes to FOLDER/log.txt; when we are stopped, so is the program."""
    path = folder / "log.txt"
    with open(path, "ab") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            status = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if status != 0:
        end = "\n".join(path.read_text(errors="replace").splitlines()[-5:])
        raise Failed(f"{shlex.join(map(str, command))}\nended with {status}; the end of {path}:\n{end}")


def forget_subjects(folder):
    """Deletes what is large and can be made again from the seed."""
    for name in ["cohort", "cohort.part", "cache"]:
        shutil.rmtree(folder / name, ignore_errors=True)


def summary(output, settings, seeds):
    """What is known so far of the seeds 1 to `seeds`."""
    paths = [output / f"{design}-{seed:03}" / "result.json" for design in DESIGNS for seed in range(1, seeds + 1)]
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    rates = {}
    for design, strength in DESIGNS.items():
        of_design = [result for result in found if result["design"] == design]
        counts = {name: sum(result["verdict"] == name for result in of_design) for name in VERDICTS}
        rates[design] = {
            "strength": strength,
            "seeds": len(of_design),
            **{name: {"count": count, **wilson(count, len(of_design))} for name, count in counts.items()},
            "conditions_held": conditions_held(of_design),
            "auc": mean_and_sd(map(model_auc, of_design)),
            "metadata_auc": mean_and_sd(map(metadata_auc, of_design)),
            "same_scanner_auc": mean_and_sd(map(same_scanner_auc, of_design)),
            "older_scanner_auc": mean_and_sd(map(older_scanner_auc, of_design)),
            "cpu_s": sum(result["cpu_s"] for result in of_design),
        }
    notes = []
    if len({result["fcdd_sha256"] for result in found}) > 1:
        notes.append("Different builds of fcdd made these verdicts.")
    started = {result["start_validation_auc"] for result in found}
    notes += [
        f"The network to begin with has a validation AUC of {auc:.2f} only: a balanced cohort may fail because too "
        "little was learned."
        for auc in started
        if auc is not None and auc < KNOWS_LESIONS
    ]
    what = "Verdicts of the confound report on synthetic cohorts; no statement about patients."
    return {"what": what, "settings": settings, "notes": notes, "rates": rates, "seeds": found}


def wilson(count, trials):
    """Share with its 95 % score interval, without continuity correction; as src/research/statistics/spread.rs."""
    if trials == 0:
        return {"share": None, "lower": None, "upper": None}
    z, share = statistics.NormalDist().inv_cdf(0.975), count / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    return {"share": share, "lower": max(centre - half, 0.0), "upper": min(centre + half, 1.0)}


def conditions_held(results):
    """In how many cohorts each condition of the verdict held."""
    checks = [result["confounds"]["checks"] for result in results if result["confounds"]]
    return [{"name": same[0]["name"], "held": sum(check["passed"] for check in same)} for same in zip(*checks)]


def model_auc(result):
    """Mean over folds."""
    return (result["auc"]["over_folds"] or {}).get("mean")


def metadata_auc(result):
    """Of scanner, protocol, voxel size, sex and age, out of fold."""
    return estimate((result["confounds"] or {}).get("metadata_auc"))


def same_scanner_auc(result):
    """Of the model, among subjects of the same fold and the same scanner: the second condition's figure."""
    return estimate(result["confounds"]["checks"][1]["figure"]) if result["confounds"] else None


def older_scanner_auc(result):
    """How well the score tells the older scanner's patients from the other's: 0.5 says that it knows nothing of it."""
    for prediction in (result["confounds"] or {}).get("scanner_predictions", []):
        if prediction["fcd"] and prediction["scanner"] == OLDER_SCANNER:
            return estimate(prediction["auc"])
    return None


def estimate(interval):
    return interval["estimate"] if interval else None


def mean_and_sd(values):
    values = [value for value in values if value is not None]
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "sd": sd, "n": len(values)}


def number(value):
    return "undefined" if value is None else f"{value:.2f}"


def table(found):
    """The rates as Markdown."""

    def rate(of):
        if of["share"] is None:
            return "-"
        return f"{of['count']} ({100 * of['lower']:.0f} to {100 * of['upper']:.0f} %)"

    def row(*cells):
        return f"| {' | '.join(cells)} |"

    def spread(of):
        if of is None:
            return "undefined"
        return f"{of['mean']:.2f}" + (f" ± {of['sd']:.2f}" if of["sd"] is not None else "")

    minutes = sum(of["cpu_s"] for of in found["rates"].values()) / 60
    lines = [
        found["what"],
        *found["notes"],
        "",
        row("cohort", "seeds", *VERDICTS, "conditions held", "AUC", "metadata", "same scanner", "older scanner"),
        row(*["---"] * 10),
    ]
    for design, of in found["rates"].items():
        cells = [f"{design}, strength {of['strength']}", str(of["seeds"])]
        cells += [rate(of[name]) for name in VERDICTS]
        cells.append(", ".join(str(condition["held"]) for condition in of["conditions_held"]) or "-")
        cells += [spread(of[name]) for name in ["auc", "metadata_auc", "same_scanner_auc", "older_scanner_auc"]]
        lines.append(row(*cells))
    lines += [
        "",
        "Verdicts with Wilson's 95 % intervals; in how many cohorts each of the three conditions held; mean ± SD over",
        "cohorts of the AUC of the network, of the metadata alone, of the network among subjects of the same scanner,",
        "and of its score for telling the older scanner's patients from the others (0.5: it knows nothing of it).",
        f"{minutes:.0f} CPU minutes, without the network to begin with.",
    ]
    return "\n".join(lines) + "\n"


def write_json(path, value):
    """Whole or not at all, whenever we are stopped."""
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(unfinished, path)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def children_cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
