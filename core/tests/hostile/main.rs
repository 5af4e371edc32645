//! Hostile input for what `core` reads: the checks that `fuzz/` runs for long under libFuzzer, on drawn inputs in every test run.

mod config;
mod draw;
mod rules;
mod tag;

/// Inputs of each check; `./x fuzz` is for more.
const INPUTS: u32 = 20_000;
const INPUT_BYTES_MAX: usize = 256;
/// A document is parsed, checked and compiled for each.
const DOCUMENTS: u32 = 2_000;

#[test]
fn a_carrier_of_any_bytes_is_a_tag_or_refused() {
    draw::inputs(INPUTS, INPUT_BYTES_MAX, &[]).for_each(|bytes| tag::check(&bytes));
}

#[test]
fn a_damaged_configuration_is_answered_and_what_was_good_stays() {
    draw::inputs(INPUTS, INPUT_BYTES_MAX, &[]).for_each(|bytes| config::check(&bytes));
}

#[test]
fn documents_that_are_taken_decide_any_request() {
    let seeds = seeds("rules");
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    assert!(seeds.iter().all(|seed| rules::check(seed)), "the seeds are good documents");
    let good = draw::inputs(DOCUMENTS, INPUT_BYTES_MAX, &seeds).filter(|bytes| rules::check(bytes)).count();
    assert!(
        good > DOCUMENTS as usize / 40,
        "only {good} of {DOCUMENTS} inputs were good documents: the rest showed little"
    );
}

/// The inputs that the fuzzer starts from, too.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let files = std::fs::read_dir(&folder).expect("the folder is in the source tree");
    let mut paths: Vec<_> = files.map(|file| file.expect("it can be read").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("it can be read")).collect()
}
