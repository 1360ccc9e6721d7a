//! What the benchmarks of receiving and sending share: the slices, a sender that costs little, a real disk.

// Each benchmark is a crate of its own that uses only a part of this module.
#![allow(dead_code, unused_imports)]

mod disk;
mod fast_sender;
mod mr_slices;
mod storescp;

pub use disk::{disk_limit, on_a_real_disk};
pub use fast_sender::send_from;
pub use mr_slices::{Slice, slices, write_files};
pub use storescp::Storescp;

/// The median of what was measured.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (0, Some(below), Some(above)) => (below + above) / 2.0,
        (_, _, Some(value)) => *value,
        _ => f64::NAN,
    }
}

/// The smallest and the largest of what was measured.
pub fn range(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{least:.0} to {most:.0}")
}

/// Arguments of the form `--name NUMBER`; anything else is refused with the names that are known.
pub fn arguments(known: &mut [(&str, &mut usize)]) {
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        // Cargo says so to every benchmark.
        if word == "--bench" {
            continue;
        }
        let names: Vec<String> = known.iter().map(|(name, _)| format!("--{name}")).collect();
        match known.iter_mut().find(|(name, _)| word.strip_prefix("--") == Some(*name)) {
            Some((_, value)) => **value = words.next().and_then(|n| n.parse().ok()).expect("a whole number follows"),
            None => panic!("{word} is none of {}", names.join(", ")),
        }
    }
}
