#!/usr/bin/env bash
# What fuzzing needs: fuzz.sh FOLDER
# cargo-fuzz, built into FOLDER/bin. Stable Rust will do: only its sanitizers want a nightly one, and none is used.
set -euo pipefail

folder=$1
version=0.13.2

if [ "$("$folder/bin/cargo-fuzz" --version 2>/dev/null)" != "cargo-fuzz $version" ]; then
    echo "setup: cargo-fuzz $version -> $folder"
    cargo install --quiet --locked --root "$folder" "cargo-fuzz@$version"
fi
