//! A short run of every fuzz target on stable Rust: their seeds reach what they are for, and a seeded mutator finds
//! nothing that breaks an invariant. `make fuzz` runs the same functions under libFuzzer for as long as one likes.
//!
//! A finding is written to a file that the failure names; FCDD_FUZZ_INPUT=FILE runs that one input again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fcdd::fuzzing::{self, TARGETS, Target};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Cases of each target: together some fifteen seconds unoptimised.
const CASES: [(&str, u32); 5] =
    [("association", 2000), ("series", 1500), ("report", 200), ("manifest", 1500), ("configuration", 800)];
const SEED: u64 = 20_260_102;
const LONGEST_INPUT: usize = 16_384;
/// No input of that length may take longer, not even unoptimised beside other tests.
const PATIENCE: Duration = Duration::from_secs(10);
/// Numbers at the edges of their types, and the bytes that text formats turn on.
const INTERESTING: [&[u8]; 14] = [
    &[0],
    &[1],
    &[0x7F],
    &[0x80],
    &[0xFF],
    &[0xFF, 0xFF],
    &[0xFF, 0xFF, 0xFF, 0xFF],
    &[0, 0, 0, 0x80],
    b"\\",
    b"\"",
    b"[",
    b"\n",
    b"nan",
    b"9223372036854775807",
];

/// The folder of the targets' files under way, in memory where there is one; removed when the test ends.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a temporary folder can be made");
    fuzzing::use_scratch(folder.path());
    folder
}

/// Where the input under way lies: what ends the process, as a stack overflow does, leaves it there.
fn input_file(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}-under-way", target.name))
}

/// How far the input came and how long it took; or what it broke.
fn run(target: &Target, bytes: &[u8], what: &str) -> Result<(&'static str, Duration), String> {
    let under_way = input_file(target);
    std::fs::write(&under_way, bytes).expect("Cargo's folder for test files is writable");
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    let why = match outcome {
        Ok(reached) if begun.elapsed() < PATIENCE => return Ok((reached, begun.elapsed())),
        Ok(_) => format!("it took {:?}", begun.elapsed()),
        Err(panic) => {
            let owned = panic.downcast_ref::<String>().cloned();
            owned.or(panic.downcast_ref::<&str>().map(|why| why.to_string())).unwrap_or_default()
        }
    };
    let finding = under_way.with_file_name(format!("fuzz-{}-finding", target.name));
    std::fs::rename(&under_way, &finding).expect("Cargo's folder for test files is writable");
    let (name, finding) = (target.name, finding.display());
    Err(format!("{name}, {what}: {why}\n  again: FCDD_FUZZ_TARGET={name} FCDD_FUZZ_INPUT={finding}"))
}

#[test]
fn nothing_that_a_mutator_makes_of_the_seeds_breaks_an_invariant() {
    let _scratch = scratch();
    if let (Ok(name), Some(input)) = (std::env::var("FCDD_FUZZ_TARGET"), std::env::var_os("FCDD_FUZZ_INPUT")) {
        let target = fuzzing::target(&name).expect("FCDD_FUZZ_TARGET names a target");
        let bytes = std::fs::read(&input).expect("FCDD_FUZZ_INPUT can be read");
        println!("{name}: {}", (target.run)(&bytes));
        return;
    }
    let findings: Vec<String> = TARGETS.iter().filter_map(|target| short_run(target).err()).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// All seeds of a target and its cases, up to the first finding.
fn short_run(target: &Target) -> Result<(), String> {
    let begun = Instant::now();
    let seeds = (target.seeds)();
    let mut reached: BTreeMap<&str, u32> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    for (name, bytes) in &seeds {
        let (how_far, took) = run(target, bytes, &format!("seed {name}"))?;
        *reached.entry(how_far).or_default() += 1;
        slowest = slowest.max(took);
    }
    for wanted in target.must_reach {
        assert!(reached.contains_key(wanted), "{}: no seed reaches {wanted:?}: {reached:?}", target.name);
    }
    let cases = CASES.iter().find(|(name, _)| *name == target.name).expect("each target has its cases").1;
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    for case in 0..cases {
        let input = mutated(&seeds, &mut random);
        let (how_far, took) = run(target, &input, &format!("case {case} of seed {SEED}"))?;
        *reached.entry(how_far).or_default() += 1;
        slowest = slowest.max(took);
    }
    let took = begun.elapsed().as_secs_f64();
    let seeds = seeds.len();
    println!("{}: {seeds} seeds and {cases} cases in {took:.1} s, the slowest {slowest:?}: {reached:?}", target.name);
    let _ = std::fs::remove_file(input_file(target));
    Ok(())
}

/// A seed, or the beginning of one and the end of another, with some changes.
fn mutated(seeds: &[(String, Vec<u8>)], random: &mut ChaCha8Rng) -> Vec<u8> {
    let seed = |random: &mut ChaCha8Rng| seeds[random.random_range(0..seeds.len())].1.clone();
    let mut input = seed(random);
    if random.random_bool(0.2) {
        let other = seed(random);
        input.truncate(random.random_range(0..=input.len()));
        input.extend(&other[random.random_range(0..=other.len())..]);
    }
    for _ in 0..random.random_range(1..=6) {
        change(&mut input, random);
    }
    input.truncate(LONGEST_INPUT);
    input
}

fn change(input: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    let place = random.random_range(0..=input.len());
    let some = random.random_range(1..=16).min(input.len() - place);
    match random.random_range(0..8) {
        0 => {
            if let Some(byte) = input.get_mut(place) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(place) {
                *byte = random.random();
            }
        }
        2 => {
            let interesting = INTERESTING[random.random_range(0..INTERESTING.len())];
            let end = (place + interesting.len()).min(input.len());
            input.splice(place..end, interesting.iter().copied());
        }
        3 => {
            let interesting = INTERESTING[random.random_range(0..INTERESTING.len())];
            input.splice(place..place, interesting.iter().copied());
        }
        4 => {
            input.drain(place..place + some);
        }
        5 => {
            let again = input[place..place + some].to_vec();
            input.splice(place..place, again);
        }
        6 => {
            let new: Vec<u8> = (0..random.random_range(1..=16)).map(|_| random.random()).collect();
            input.splice(place..place, new);
        }
        _ => {
            if random.random_bool(0.2) {
                input.truncate(place);
            }
        }
    }
}
