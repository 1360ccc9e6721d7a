#!/usr/bin/env bash
# Names every build tool that is missing or too old, each with the command that installs it.
# `tools.sh` checks what a build needs, `tools.sh lint` also what `make test` needs.
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root=""
[ "$(id -u)" -eq 0 ] || as_root="sudo "
rustup="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default"
missing=()

need() { # need TOOL COMMAND-THAT-INSTALLS-IT
    command -v "$1" >/dev/null 2>&1 || missing+=("$1 is not installed:  $2")
}

need cargo "$rustup"
need rustc "$rustup"
need cc "${as_root}apt-get install -y gcc libc6-dev"
need c++ "${as_root}apt-get install -y g++"
need cmake "${as_root}apt-get install -y cmake"
need make "${as_root}apt-get install -y make"
need python3 "${as_root}apt-get install -y python3"
if command -v python3 >/dev/null 2>&1 && ! python3 -m pip --version >/dev/null 2>&1; then
    missing+=("Python's pip is not installed:  ${as_root}apt-get install -y python3-pip")
fi

if command -v rustc >/dev/null 2>&1; then
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(rustc --version | awk '{print $2}')
    if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        missing+=("rustc $found is too old, $wanted or newer is needed:  rustup update stable   (without rustup: $rustup)")
    fi
fi
if [ "${1:-}" = lint ] && command -v cargo >/dev/null 2>&1; then
    cargo fmt --version >/dev/null 2>&1 || missing+=("cargo fmt is not installed:  rustup component add rustfmt")
    cargo clippy --version >/dev/null 2>&1 || missing+=("cargo clippy is not installed:  rustup component add clippy")
fi

if [ "${#missing[@]}" -gt 0 ]; then
    echo "fcdd cannot be built here yet:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
fi
