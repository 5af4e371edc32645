//! lanectl.
fn main() {}
