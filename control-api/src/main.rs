//! `laneway-control`: reads its configuration, runs [`laneway_control_api::app`], and exits.

use std::process::ExitCode;

use laneway_control_api::app;
use laneway_control_api::config::Config;

fn main() -> ExitCode {
    let config = match Config::read() {
        Ok(config) => config,
        Err(error) => return error.report(),
    };
    match app::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("laneway-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}
