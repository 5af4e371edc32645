//! Hostile flags: the check that `fuzz/` runs for long under libFuzzer, on drawn inputs in every test run.

#[path = "../../../core/tests/hostile/draw.rs"]
mod draw;
mod redirect;

const INPUTS: u32 = 20_000;
const INPUT_BYTES_MAX: usize = 96;

#[test]
fn what_is_taken_means_the_same_as_flags_nft_and_iptables() {
    let taken = draw::inputs(INPUTS, INPUT_BYTES_MAX, &[]).filter(|bytes| redirect::check(bytes)).count();
    assert!(taken > INPUTS as usize / 50, "only {taken} of {INPUTS} inputs were taken: the rest showed little");
}
