//! What is taken for a filter, and that it is obeyed from the next line on.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use super::{FilterError, Logging, parse};

/// Collects what is written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Lines;

    fn make_writer(&'w self) -> Lines {
        self.clone()
    }
}

#[test]
fn a_filter_is_a_level_or_directives_and_nothing_else() {
    for good in ["info", "OFF", "info,laneway_proxy::control=debug", "warn, h2=error"] {
        assert!(parse(good).is_ok(), "{good}");
    }
    for bad in ["", "verbose", "info,", "laneway_proxy", "laneway_proxy=loud", "info;debug"] {
        assert!(matches!(parse(bad), Err(FilterError::Level(_))), "{bad}");
    }
    assert_eq!(parse(&"a=info,".repeat(200)).err(), Some(FilterError::TooLong));
}

#[test]
fn a_filter_that_was_changed_holds_from_the_next_line_on() {
    let written = Lines::default();
    let (logging, layer) = Logging::layer("info").expect("a level");
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(written.clone());
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer).with(lines));
    let say = || tracing::debug!("one request");
    let count = || String::from_utf8_lossy(&written.0.lock().expect("nobody panicked")).matches("one request").count();
    say();
    assert_eq!(count(), 0);
    assert_eq!(logging.set("debug"), Ok("info".to_owned()));
    say();
    assert_eq!((count(), logging.filter().as_str()), (1, "debug"));
    assert!(logging.set("loud").is_err());
    assert_eq!(logging.filter(), "debug", "what is refused changes nothing");
    assert_eq!(logging.set("info"), Ok("debug".to_owned()));
    say();
    assert_eq!(count(), 1);
}
