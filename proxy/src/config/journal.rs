//! The flags of access log and traces.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::{ConfigError, refuse};
use crate::journal::{Config, Format, LogConfig, Share, TraceConfig};

#[derive(Args, Debug)]
pub(super) struct JournalFlags {
    /// A line for each request that has ended.
    #[arg(long, env = "LANEWAY_ACCESS_LOG", default_value = "off")]
    access_log: AccessLog,
    /// Of so many requests.
    #[arg(long, value_name = "PERCENT", env = "LANEWAY_ACCESS_LOG_SAMPLE", default_value = "100%")]
    access_log_sample: Percent,
    /// Appended to, instead of standard output.
    #[arg(long, value_name = "FILE", env = "LANEWAY_ACCESS_LOG_FILE")]
    access_log_file: Option<PathBuf>,
    /// Collector that takes traces by OTLP over gRPC, as http://HOST:4317. Needs the feature `otlp`.
    #[arg(long, value_name = "URL", env = "LANEWAY_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// Of the requests that belong to no trace, so many begin one.
    #[arg(long, value_name = "PERCENT", env = "LANEWAY_TRACE_SAMPLE", default_value = "0%")]
    trace_sample: Percent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AccessLog {
    Off,
    Text,
    Json,
}

impl JournalFlags {
    pub(super) fn check(self) -> Result<Config, ConfigError> {
        let format = match self.access_log {
            AccessLog::Off => None,
            AccessLog::Text => Some(Format::Text),
            AccessLog::Json => Some(Format::Json),
        };
        if format.is_none() && self.access_log_file.is_some() {
            return refuse("--access-log-file / LANEWAY_ACCESS_LOG_FILE", "needs --access-log text or json");
        }
        let sample = self.access_log_sample.0;
        let log = format.map(|format| LogConfig { format, sample, file: self.access_log_file });
        const ENDPOINT: &str = "--otlp-endpoint / LANEWAY_OTLP_ENDPOINT";
        let sample = self.trace_sample.0;
        let traces = match self.otlp_endpoint {
            None if sample != Share::NONE => {
                return refuse("--trace-sample / LANEWAY_TRACE_SAMPLE", "needs --otlp-endpoint");
            }
            None => None,
            Some(_) if !cfg!(feature = "otlp") => {
                return refuse(ENDPOINT, "this program was built without the feature otlp");
            }
            Some(endpoint) if !endpoint.starts_with("http://") => {
                return refuse(ENDPOINT, format!("`{endpoint}` is not a URL of the form http://HOST:PORT"));
            }
            Some(endpoint) => Some(TraceConfig { endpoint, sample }),
        };
        Ok(Config { log, traces })
    }
}

/// `100%`, `1%`, `0.01%`: 0 % to 100 %, in steps of a hundredth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Percent(Share);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        let allowed = || format!("`{text}` is no share: 0% to 100%, at most two decimals");
        let number = text.strip_suffix('%').ok_or_else(allowed)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit())
        };
        if !is_number(whole, 3) || !is_number(decimals, 2) {
            return Err(allowed());
        }
        let basis_points = format!("{whole}{decimals:0<2}").parse().map_err(|_| allowed())?;
        if basis_points > Share::ALL.0 {
            return Err(allowed());
        }
        Ok(Percent(Share(basis_points)))
    }
}
