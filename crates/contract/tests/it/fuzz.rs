//! The fuzz targets' entry points on stable: over the corpus in `fuzz/corpus`, and over mutations of it that are the
//! same in every run. `cargo fuzz` (see `fuzz/Cargo.toml`) goes further.

use std::path::Path;

#[path = "../../../../fuzz/entry.rs"]
mod entry;

/// Mutations of each file of the corpus.
const MUTATIONS: u64 = 200;

#[test]
fn requests() {
    run("request", entry::request);
}

#[test]
fn signatures() {
    run("signature", entry::signature);
}

fn run(target: &str, entry: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(
        files.len() >= 10,
        "the corpus in {} is there",
        folder.display()
    );
    let corpus: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    let mut random = Random(0x5ea1_c4ec);
    for seed in &corpus {
        entry(seed);
        for _ in 0..MUTATIONS {
            entry(&random.mutate(seed, &corpus));
        }
    }
}

/// A small generator (xorshift64), so that a failure is found again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or_default()
    }

    /// One to four changes: a flipped bit, a byte out of place, a piece lost, doubled, or of another file.
    fn mutate(&mut self, seed: &[u8], corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut data = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(data.len() + 1);
            let end = (at + self.below(24)).min(data.len());
            match self.below(5) {
                0 if at < data.len() => data[at] ^= 1 << self.below(8),
                1 => data.insert(at, b"\"\\{}[]:,0 \n\xff"[self.below(12)]),
                2 => drop(data.drain(at..end)),
                3 => {
                    let piece = data[at..end].to_vec();
                    data.splice(at..at, piece);
                }
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(48)).min(other.len());
                    data.splice(at..end, other[from..to].iter().copied());
                }
            }
        }
        data
    }
}
