#!/usr/bin/env bash
# Fuzzes every target in turn and says what came of it: run.sh MINUTES CARGO-FUZZ [TARGET...]
#
# The minutes are shared. Each target starts from the seeds that it writes itself and from what earlier runs found
# (fuzz/corpus). A target that crashes is over; its input is named and lies in fuzz/artifacts. Exit status 1 where one
# crashed.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=$1 cargo_fuzz=$2
shift 2
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(association series report manifest configuration)

seconds=$((minutes * 60 / ${#targets[@]}))
logs=fuzz/target/logs
mkdir -p "$logs"
# Spools and ledgers under way; in memory where the machine has such a folder.
scratch=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" fcdd-fuzz.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
export FCDD_FUZZ_SCRATCH=$scratch RUST_BACKTRACE=1

# The versions that fcdd is built with.
cp Cargo.lock fuzz/Cargo.lock
# Rust that is safe needs no address sanitizer; overflow checks and debug assertions are on (fuzz/Cargo.toml).
options=(--sanitizer none)
"$cargo_fuzz" build "${options[@]}"

crashed=0
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target
    mkdir -p "$corpus"
    echo "fuzz: $target for $seconds s"
    # One allocation of 300 MB, 2 GB in all or 20 s for one input are findings too.
    if ! FCDD_FUZZ_SEEDS=$corpus "$cargo_fuzz" run "${options[@]}" "$target" "$corpus" -- \
        -max_total_time="$seconds" -max_len=16384 -len_control=20 -timeout=20 -malloc_limit_mb=300 \
        -rss_limit_mb=2048 -print_final_stats=1 >"$logs/$target.log" 2>&1; then
        crashed=1
        echo "fuzz: $target CRASHED; see $logs/$target.log and fuzz/artifacts/$target" >&2
    fi
done

# The last figure that libFuzzer gave in a target's log under a name.
figure() { sed -nE "s/.*$2: *([0-9]+).*/\1/p" "$logs/$1.log" | tail -n 1; }
printf '\n%-14s %12s %8s %9s %8s %8s %8s\n' target executions "a second" coverage corpus "peak MB" crashes
for target in "${targets[@]}"; do
    crashes=$(find "fuzz/artifacts/$target" -type f 2>/dev/null | wc -l)
    printf '%-14s %12s %8s %9s %8s %8s %8s\n' "$target" \
        "$(figure "$target" stat::number_of_executed_units)" "$(figure "$target" stat::average_exec_per_sec)" \
        "$(figure "$target" ' cov')" "$(figure "$target" ' corp')" "$(figure "$target" stat::peak_rss_mb)" "$crashes"
done
exit "$crashed"
