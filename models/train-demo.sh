#!/usr/bin/env bash
# Trains demo-t1 and demo-flair on synthetic subjects, from nothing to model folders:  make demo-models
#
# 1. A cohort of strong lesions teaches one network per sequence, from random weights, what a lesion looks like and where.
# 2. A second cohort, of other heads and of lesions down to faint ones, is what the five folds are trained and tested on;
#    each begins with that network.
# 3. The folds become a model folder: WORK/demo-t1, WORK/demo-flair. To serve them, put them in place of those in models/.
#
# The seeds here are for training only; models/judge-demo.sh uses others. Stopped at any instant, the same call goes on.
set -euo pipefail

work=${1:?usage: models/train-demo.sh WORK}
fcdd=${FCDD:-target/release/fcdd}

cohort() { # NAME SUBJECTS SEED STRENGTH CONTROLS
    [ -f "$work/$1/participants.tsv" ] && return
    rm -rf "${work:?}/$1"
    "$fcdd" phantom --output "$work/$1" --format bids --size small --subjects "$2" --seed "$3" --strength "$4" --controls "$5"
}

# One thread for each sequence: side by side they use two cores better than one after the other.
retrain() { # ARCHIVE SEQUENCE ARGUMENTS...
    local archive=$1 sequence=$2
    shift 2
    "$fcdd" admin retrain --archive "$work/$archive" --modality "$sequence" --output "$work/run-$archive-$sequence" \
        --cache "$work/cache" --architecture resnet10 --width 8 --input 80,96,80 --spacing 2 --batch 4 --threads 1 \
        --device cpu --augment flip --lesion-guidance 1 --decay cosine --resume "$@"
}

model() { # SEQUENCE, EPOCHS of the first network and of each fold, ROTATION in degrees
    retrain strong "$1" --folds 20 --fold 0 --epochs "$2" --rotation "$4" --learning-rate 3e-3
    retrain varied "$1" --epochs "$3" --rotation "$4" --learning-rate 1e-3 --trainable all \
        --weights "$work/run-strong-$1/fold_0/checkpoint_best"
    rm -rf "${work:?}/demo-$1"
    "$fcdd" admin export "$work/run-varied-$1" --output "$work/demo-$1"
}

mkdir -p "$work"
cohort strong 400 1001 0.7..1 0.4
cohort varied 300 2001 0.4..1 0.5
# In T1 a lesion is harder to tell from folded cortex: it takes longer to learn, and what is seen often is learned by heart.
model t1 34 7 10 & t1=$!
model flair 14 8 5 & flair=$!
wait "$t1"
wait "$flair"
du -sh "$work/demo-t1" "$work/demo-flair"
