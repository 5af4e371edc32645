//! `lanectl`: people's way to the control plane. See [`laneway_control_api::lanectl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    laneway_control_api::lanectl::run()
}
