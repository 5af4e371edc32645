//! `lanectl completion`: the script of a shell, made from what can be typed.

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;

/// `name` is how the program is called: `lanectl`, or `kubectl-laneway`.
pub(super) fn completion(shell: Shell, name: &str, out: &mut String) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), name, &mut script);
    out.push_str(&String::from_utf8_lossy(&script));
}
