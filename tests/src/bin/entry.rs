//! The unmeshed entry of the tests, as a program: `laneway-entry --listen 0.0.0.0:80 --rules entry.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use laneway_tests::echo::listen;
use laneway_tests::entry::Entry;

/// Sends requests to pods by host and headers, as an ingress does
#[derive(Parser)]
struct Arguments {
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:80")]
    listen: SocketAddr,
    /// YAML: a list of `{host, headers: {name: value}, to: address}`; read for every request
    #[arg(long, env = "RULES")]
    rules: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    Entry::new(arguments.rules).serve(listen(arguments.listen)?).await
}
