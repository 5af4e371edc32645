//! The configuration of `laneway-control`: flags, and environment variables of the same names behind `LANEWAY_CONTROL_`.
//!
//! The one reader of the environment. A bad value refuses to start and names the flag. Unknown variables are not refused:
//! Kubernetes puts LANEWAY_CONTROL_SERVICE_HOST and the like into pods beside a service of that name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

#[cfg(test)]
mod tests;

/// Laneway's control plane.
#[derive(Debug, Parser)]
#[command(name = "laneway-control", version, max_term_width = 100)]
struct Arguments {
    /// SQLite database with all that was applied; created if it is not there.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_STORE", default_value = "laneway-control.db")]
    store: PathBuf,
    /// File or folder with `kind: Service` documents: what runs. May be given several times; read again when it changes.
    #[arg(long, value_name = "PATH", env = "LANEWAY_CONTROL_DISCOVERY", value_delimiter = ',')]
    discovery: Vec<PathBuf>,
    /// Where sidecars connect. Port 0: any free one.
    #[arg(long, value_name = "ADDRESS", env = "LANEWAY_CONTROL_DISCOVERY_LISTEN", default_value = "127.0.0.1:15410")]
    discovery_listen: SocketAddr,
    /// Where lanectl connects. Port 0: any free one.
    #[arg(long, value_name = "ADDRESS", env = "LANEWAY_CONTROL_API_LISTEN", default_value = "127.0.0.1:15411")]
    api_listen: SocketAddr,
    /// Listen on other addresses than loopback although nothing is encrypted and nobody is asked who they are.
    #[arg(long, env = "LANEWAY_CONTROL_INSECURE_LISTEN")]
    insecure_listen: bool,
    /// Written when both ports are open: a JSON object with the addresses `discovery` and `api`.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_READY_FILE")]
    ready_file: Option<PathBuf>,
    /// Longest drain after SIGTERM, seconds.
    #[arg(long, value_name = "SECONDS", env = "LANEWAY_CONTROL_DRAIN_MAX", default_value_t = 5)]
    drain_max: u64,
    /// Name of this replica in status. Unset: the host's name.
    #[arg(long, value_name = "NAME", env = "LANEWAY_CONTROL_REPLICA")]
    replica: Option<String>,
    /// What is logged, as `info,laneway_control_api::push=debug`.
    #[arg(long, value_name = "FILTER", env = "LANEWAY_CONTROL_LOG", default_value = "info")]
    log: String,
    #[arg(long, value_name = "FORMAT", env = "LANEWAY_CONTROL_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Everything that can be set, checked.
#[derive(Debug)]
pub struct Config {
    pub store: PathBuf,
    pub discovery: Vec<PathBuf>,
    pub discovery_listen: SocketAddr,
    pub api_listen: SocketAddr,
    pub insecure_listen: bool,
    pub ready_file: Option<PathBuf>,
    pub drain_max: std::time::Duration,
    pub replica: String,
    pub log: EnvFilter,
    pub log_format: LogFormat,
}

/// Why it was not read: a bad value, or a call for help.
#[derive(Debug)]
pub struct ConfigError(clap::Error);

impl Config {
    /// From the command line and the environment of the process.
    pub fn read() -> Result<Config, ConfigError> {
        Arguments::try_parse().map_err(ConfigError).and_then(Config::check)
    }

    /// From a command line alone; for tests.
    #[cfg(test)]
    fn of(arguments: &[&str]) -> Result<Config, ConfigError> {
        let arguments = std::iter::once(&"laneway-control").chain(arguments);
        Arguments::try_parse_from(arguments).map_err(ConfigError).and_then(Config::check)
    }

    fn check(arguments: Arguments) -> Result<Config, ConfigError> {
        let listens = [("--discovery-listen", arguments.discovery_listen), ("--api-listen", arguments.api_listen)];
        for (flag, address) in listens {
            if !address.ip().is_loopback() && !arguments.insecure_listen {
                return Err(refuse(format!(
                    "{flag} {address}: not a loopback address, and there is no TLS yet: whoever reaches the port could \
                     change the mesh. Use a loopback address, or give --insecure-listen where the network keeps others out"
                )));
            }
        }
        let [(_, discovery), (_, api)] = listens;
        if discovery.port() != 0 && discovery == api {
            return Err(refuse(format!("--api-listen {api}: is also --discovery-listen; give each its own port")));
        }
        let log = EnvFilter::try_new(&arguments.log)
            .map_err(|error| refuse(format!("--log {:?}: {error}", arguments.log)))?;
        if arguments.drain_max > 3600 {
            return Err(refuse(format!("--drain-max {}: at most 3600 seconds", arguments.drain_max)));
        }
        Ok(Config {
            store: arguments.store,
            discovery: arguments.discovery,
            discovery_listen: discovery,
            api_listen: api,
            insecure_listen: arguments.insecure_listen,
            ready_file: arguments.ready_file,
            drain_max: std::time::Duration::from_secs(arguments.drain_max),
            replica: arguments.replica.unwrap_or_else(host_name),
            log,
            log_format: arguments.log_format,
        })
    }
}

impl ConfigError {
    /// Prints it where it belongs; the exit status says whether it was an error.
    pub fn report(&self) -> ExitCode {
        // Nothing is left to do when even that fails.
        let _ = self.0.print();
        ExitCode::from(u8::try_from(self.0.exit_code()).unwrap_or(2))
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn refuse(message: String) -> ConfigError {
    ConfigError(Arguments::command().error(clap::error::ErrorKind::ValueValidation, message))
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "control".to_owned(), |name| name.trim().to_owned())
}
