//! The application of the tests, as a program: `laneway-echo --listen 0.0.0.0:20001 --name A --next http://sc-b:20002/b`.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser;
use laneway_tests::echo::{Config, Echo, listen};

/// Answers its chain: own name, then what the next service says
#[derive(Parser)]
struct Arguments {
    /// Addresses to listen on, separated by commas
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:20001", value_delimiter = ',')]
    listen: Vec<SocketAddr>,
    #[command(flatten)]
    config: Config,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let echo = Echo::new(arguments.config)?;
    let mut serving = tokio::task::JoinSet::new();
    for address in arguments.listen {
        serving.spawn(Arc::clone(&echo).serve(listen(address)?));
    }
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    Ok(())
}
