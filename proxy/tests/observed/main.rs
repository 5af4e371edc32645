//! What people see of the requests of real sidecars: the access log, and with the feature `otlp` the traces that a real receiver of
//! OTLP gets. `cargo test -p laneway-proxy --features otlp --test observed`

mod log;
mod pods;

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod traces;
