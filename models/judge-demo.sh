#!/usr/bin/env bash
# Judges models/demo-t1 and models/demo-flair on fresh synthetic subjects:  make demo-figures
#
# 100 patients and 100 controls whose seeds were never trained on, the same heads at three strengths: a lesion that a
# radiologist would see, a faint one, and none at all, where every figure must be that of chance.
set -euo pipefail

work=${1:?usage: models/judge-demo.sh WORK}
fcdd=${FCDD:-target/release/fcdd}

mkdir -p "$work"
for strength in 1 0.5 0; do
    cohort="$work/fresh-$strength"
    if [ ! -f "$cohort/participants.tsv" ]; then
        rm -rf "$cohort"
        "$fcdd" phantom --output "$cohort" --format bids --size small --subjects 200 --seed 9001 --strength "$strength"
    fi
    for sequence in t1 flair; do
        rm -rf "$work/report-$sequence-$strength"
        "$fcdd" admin evaluate --model "models/demo-$sequence" --archive "$cohort" --cache "$work/cache" \
            --output "$work/report-$sequence-$strength"
    done
done
