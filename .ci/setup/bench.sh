#!/usr/bin/env bash
# What the benchmarks are measured against: bench.sh VENV
# A Python environment with benches/peers/requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$1
requirements=benches/peers/requirements.txt

if ! cmp -s "$requirements" "$venv/installed.txt"; then
    echo "setup: Python packages of the benchmarks -> $venv"
    rm -rf "$venv"
    python3 -m venv --without-pip "$venv"    # Debian's own pip installs into it: python3-venv is not needed
    PIP_ROOT_USER_ACTION=ignore python3 -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$venv/installed.txt"
fi
