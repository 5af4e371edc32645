//! The program's own log: where it goes, and what of it is written, which can be changed while the program runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Of a filter.
const FILTER_BYTES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// What is logged, to be seen and changed. Cheap to clone.
#[derive(Clone)]
pub struct Logging {
    handle: reload::Handle<EnvFilter, Registry>,
    filter: Arc<Mutex<String>>,
}

/// Why a filter is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterError {
    #[error(
        "{0:?} is no level; it is one of off, error, warn, info, debug, trace, or directives as info,laneway_proxy::control=debug"
    )]
    Level(String),
    #[error("{0:?} is no directive: {1}")]
    Directive(String, String),
    #[error("a filter has at most {FILTER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the log is gone")]
    Gone,
}

impl Logging {
    /// Starts the log of this process, to standard error. Once.
    pub fn start(filter: &str, format: LogFormat) -> Result<Logging, FilterError> {
        let (logging, layer) = Logging::layer(filter)?;
        let log = tracing_subscriber::registry().with(layer);
        let lines = fmt::layer().with_writer(std::io::stderr);
        match format {
            LogFormat::Text => log.with(lines.with_ansi(false)).init(),
            LogFormat::Json => log.with(lines.json()).init(),
        }
        Ok(logging)
    }

    /// The part that decides what is logged, and its handle.
    pub fn layer(filter: &str) -> Result<(Logging, reload::Layer<EnvFilter, Registry>), FilterError> {
        let (layer, handle) = reload::Layer::new(parse(filter)?);
        Ok((Logging { handle, filter: Arc::new(Mutex::new(filter.to_owned())) }, layer))
    }

    /// What is in force.
    pub fn filter(&self) -> String {
        self.lock().clone()
    }

    /// Puts another filter in force, and returns the last one.
    pub fn set(&self, filter: &str) -> Result<String, FilterError> {
        let parsed = parse(filter)?;
        let mut held = self.lock();
        self.handle.reload(parsed).map_err(|_| FilterError::Gone)?;
        Ok(std::mem::replace(&mut *held, filter.to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A level, or directives. The library takes any other word for a target, and logs all of it at once.
fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    if filter.len() > FILTER_BYTES_MAX {
        return Err(FilterError::TooLong);
    }
    let parts: Vec<&str> = filter.split(',').map(str::trim).collect();
    for part in &parts {
        let level = part.rsplit_once('=').map_or(*part, |(_, level)| level);
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(FilterError::Level((*part).to_owned()));
        }
    }
    // Patterns on values would let a filter cost what it likes.
    let builder = EnvFilter::builder().with_regex(false);
    builder.parse(parts.join(",")).map_err(|error| FilterError::Directive(filter.to_owned(), error.to_string()))
}

#[cfg(test)]
mod tests;
