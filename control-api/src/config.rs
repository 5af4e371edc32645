//! The configuration of `laneway-control`: flags, and environment variables of the same names behind `LANEWAY_CONTROL_`.
//!
//! The one reader of the environment. A bad value refuses to start and names the flag. Unknown variables are not refused:
//! Kubernetes puts LANEWAY_CONTROL_SERVICE_HOST and the like into pods beside a service of that name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::credentials::Credentials;
use crate::inject::Settings;
use crate::tls::Required;

mod names;

#[cfg(test)]
mod tests;

/// Where our keys are in etcd, unless it is said.
const ETCD_PREFIX: &str = "laneway";
/// What means the cluster, where else a path stands; a file of that name is `./kubernetes`.
const CLUSTER: &str = "kubernetes";
/// Each has three watches of its own.
const DISCOVERY_NAMESPACES_MAX: usize = 64;
/// A cluster has 3 or 5.
const ETCD_ENDPOINTS_MAX: usize = 16;
/// The cluster, where a file could stand; one of that name is `./kubernetes`.
const KUBERNETES: &str = "kubernetes";
/// Where a pod finds which namespace it is in.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
const NAMESPACE_DEFAULT: &str = "laneway-system";

/// Laneway's control plane.
#[derive(Debug, Parser)]
#[command(name = "laneway-control", version, max_term_width = 100)]
struct Arguments {
    /// Where all that was applied is kept: a SQLite database, created if it is not there; or, for several replicas,
    /// etcd://HOST:PORT[,HOST:PORT][/PREFIX]; etcds:// with TLS; or `kubernetes`, as objects of the cluster.
    #[arg(long, value_name = "FILE|URL", env = "LANEWAY_CONTROL_STORE", default_value = "laneway-control.db")]
    store: String,
    /// Authorities of etcd's certificate, PEM; needed with etcds://.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_STORE_CA")]
    store_ca: Option<PathBuf>,
    /// Own certificate chain towards etcd, PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "LANEWAY_CONTROL_STORE_CERT",
        requires = "store_key",
        requires = "store_ca"
    )]
    store_cert: Option<PathBuf>,
    /// Private key of --store-cert, PEM.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_STORE_KEY", requires = "store_cert")]
    store_key: Option<PathBuf>,
    /// File with the user and password that etcd knows this program by: one line, USER:PASSWORD.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_STORE_USER_FILE")]
    store_user_file: Option<PathBuf>,
    /// What runs: `kubernetes` for the cluster, or a file or folder with `kind: Service` documents, read again when it changes. May be
    /// given several times.
    #[arg(long, value_name = "kubernetes|PATH", env = "LANEWAY_CONTROL_DISCOVERY", value_delimiter = ',')]
    discovery: Vec<PathBuf>,
    /// Namespaces of the cluster that are looked at with --discovery kubernetes, comma between. Unset: all.
    #[arg(long, value_name = "NAMESPACES", env = "LANEWAY_CONTROL_DISCOVERY_NAMESPACES", value_delimiter = ',')]
    discovery_namespaces: Vec<String>,
    /// Where sidecars connect. Port 0: any free one.
    #[arg(long, value_name = "ADDRESS", env = "LANEWAY_CONTROL_DISCOVERY_LISTEN", default_value = "127.0.0.1:15410")]
    discovery_listen: SocketAddr,
    /// Where lanectl connects. Port 0: any free one.
    #[arg(long, value_name = "ADDRESS", env = "LANEWAY_CONTROL_API_LISTEN", default_value = "127.0.0.1:15411")]
    api_listen: SocketAddr,
    /// Where the other replicas reach this one's API: a URL, or an IP address alone, which stands for it with the port of
    /// --api-listen. Unset: the address of --api-listen.
    #[arg(long, value_name = "URL|IP", env = "LANEWAY_CONTROL_API_ADVERTISE")]
    api_advertise: Option<String>,
    /// Authorities of the other replicas' certificates, PEM; needed where their URLs are https.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_PEER_CA", requires = "tls_cert")]
    peer_ca: Option<PathBuf>,
    /// File with the bearer token by which the other replicas know this one; their access file makes it a viewer.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_PEER_TOKEN_FILE")]
    peer_token_file: Option<PathBuf>,
    /// All ports speak TLS by an authority of our own, which is kept in Secret laneway-ca of a cluster and rotated. With certificates for
    /// these names, comma between: a Service as laneway-control.laneway-system.svc stands for each of its names.
    #[arg(
        long,
        value_name = "NAMES",
        env = "LANEWAY_CONTROL_OWN_CA",
        value_delimiter = ',',
        conflicts_with = "tls_cert"
    )]
    own_ca: Vec<String>,
    /// Namespace of what we keep in a cluster for ourselves: Revisions, Leases, Secret laneway-ca. Unset: that of our ServiceAccount,
    /// elsewhere laneway-system.
    #[arg(long, value_name = "NAMESPACE", env = "LANEWAY_CONTROL_KUBERNETES_NAMESPACE")]
    kubernetes_namespace: Option<String>,
    /// Certificate chain of all ports, PEM; read again when it changes. With --tls-key: all ports speak TLS alone.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, PEM.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authorities of client certificates, PEM: who shows one of theirs is known by its names.
    #[arg(
        long,
        value_name = "FILE",
        env = "LANEWAY_CONTROL_TLS_CLIENT_CA",
        requires = "tls_cert",
        requires = "access_file"
    )]
    tls_client_ca: Option<PathBuf>,
    /// Ports that hang up on a client without a certificate, comma between; the others take tokens too.
    #[arg(
        long,
        value_name = "PORTS",
        env = "LANEWAY_CONTROL_REQUIRE_CLIENT_CERT",
        value_delimiter = ',',
        requires = "tls_client_ca"
    )]
    require_client_cert: Vec<Port>,
    /// Who may do what (docs/security.md); read again when it changes. Who is not named in it comes in nowhere.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_ACCESS_FILE")]
    access_file: Option<PathBuf>,
    /// Who else is asked about bearer tokens that the access file does not know: `kubernetes` for the API server of the cluster.
    #[arg(long, value_name = "kubernetes", env = "LANEWAY_CONTROL_ACCESS")]
    access: Option<Authority>,
    /// Audience that a sidecar's ServiceAccount token must have with --access kubernetes.
    #[arg(long, value_name = "AUDIENCE", env = "LANEWAY_CONTROL_TOKEN_AUDIENCE", default_value = "laneway.io")]
    token_audience: String,
    /// Changes that one principal may make a second. 1 to 100000.
    #[arg(long, value_name = "N", env = "LANEWAY_CONTROL_WRITES_PER_SECOND", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    writes_per_second: u32,
    /// Where the API server of a cluster asks what to put into new pods: the webhook of docs/kubernetes.md, at /inject over TLS. Unset:
    /// there is none.
    #[arg(long, value_name = "ADDRESS", env = "LANEWAY_CONTROL_WEBHOOK_LISTEN")]
    webhook_listen: Option<SocketAddr>,
    /// MutatingWebhookConfiguration that is told of our own authority (--own-ca).
    #[arg(long, value_name = "NAME", env = "LANEWAY_CONTROL_WEBHOOK_CONFIG", default_value = "laneway-inject")]
    webhook_config: String,
    /// A setting of the sidecars that the webhook puts in: any flag of `lanectl inject`, as proxy-image=laneway/proxy:1.0. May be given
    /// several times; in the environment `;` between.
    #[arg(
        long,
        value_name = "NAME=VALUE",
        env = "LANEWAY_CONTROL_INJECT",
        value_delimiter = ';',
        requires = "webhook_listen"
    )]
    inject: Vec<String>,
    /// Listen on other addresses than loopback although not everything is encrypted, or nobody is asked who they are.
    #[arg(long, env = "LANEWAY_CONTROL_INSECURE_LISTEN")]
    insecure_listen: bool,
    /// Written when the ports are open: a JSON object with the addresses `discovery` and `api`, and `webhook` if there is one.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_READY_FILE")]
    ready_file: Option<PathBuf>,
    /// After SIGTERM serve on for so long, seconds, while /ready says 503: whoever sends to this replica hears of it meanwhile.
    #[arg(long, value_name = "SECONDS", env = "LANEWAY_CONTROL_DRAIN_MIN", default_value_t = 0)]
    drain_min: u64,
    /// End this long after SIGTERM, seconds, whatever still runs.
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

/// The ports, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Port {
    Discovery,
    Api,
}

/// Who may be asked who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Authority {
    Kubernetes,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Where everything is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    Sqlite(PathBuf),
    /// `host:port` each; the prefix begins with a slash and ends with none.
    Etcd {
        endpoints: Vec<String>,
        prefix: String,
        is_tls: bool,
    },
    /// Objects of the cluster.
    Kubernetes,
}

/// Where the others reach our API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertised {
    Url(String),
    /// At the port that we listen on.
    Address(IpAddr),
}

/// Everything that can be set, checked.
#[derive(Debug)]
pub struct Config {
    pub store: StorePlace,
    /// Towards etcd.
    pub store_credentials: Credentials,
    pub store_user_file: Option<PathBuf>,
    /// Where our own objects are in a cluster.
    pub kubernetes_namespace: String,
    /// Files and folders.
    pub discovery: Vec<PathBuf>,
    /// The cluster beside them: namespaces, none for all.
    pub discovery_cluster: Option<Vec<String>>,
    pub discovery_listen: SocketAddr,
    pub api_listen: SocketAddr,
    /// Unset: that of `api_listen`.
    pub api_advertise: Option<Advertised>,
    pub peers: Credentials,
    pub tls: Option<TlsFiles>,
    /// In place of `tls`.
    pub own_ca: Option<OwnCa>,
    pub access_file: Option<PathBuf>,
    /// Where the cluster is asked too: the audience of sidecars' tokens.
    pub access_cluster: Option<String>,
    pub writes_per_second: u32,
    pub webhook: Option<WebhookPort>,
    pub ready_file: Option<PathBuf>,
    pub drain_min: std::time::Duration,
    pub drain_max: std::time::Duration,
    pub replica: String,
    pub log: EnvFilter,
    pub log_format: LogFormat,
}

/// Where certificates are found, and who has to show one.
#[derive(Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
    pub required: Required,
}

/// The names in certificates by our own authority, and which webhook is told of it.
#[derive(Debug)]
pub struct OwnCa {
    pub names: Vec<String>,
    pub webhook_config: String,
}

/// Where the webhook listens, and what it puts in.
#[derive(Debug)]
pub struct WebhookPort {
    pub listen: SocketAddr,
    pub settings: Settings,
}

/// Why it was not read: a bad value, or a call for help.
#[derive(Debug)]
pub struct ConfigError(clap::Error);

impl Config {
    /// Whether the ports speak TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some() || self.own_ca.is_some()
    }

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
        let tls = arguments.tls_cert.zip(arguments.tls_key).map(|(cert, key)| TlsFiles {
            cert,
            key,
            client_ca: arguments.tls_client_ca,
            required: Required {
                discovery: arguments.require_client_cert.contains(&Port::Discovery),
                api: arguments.require_client_cert.contains(&Port::Api),
            },
        });
        let peers = Credentials {
            ca: arguments.peer_ca,
            identity: tls.as_ref().map(|tls| (tls.cert.clone(), tls.key.clone())),
            token_file: arguments.peer_token_file,
            ..Credentials::default()
        };
        let own_ca = match arguments.own_ca.as_slice() {
            [] => None,
            _ if !cfg!(feature = "kubernetes") => {
                return Err(refuse("--own-ca: this program was built without the feature `kubernetes`".to_owned()));
            }
            said => {
                let names = names::names(said).map_err(|why| refuse(format!("--own-ca {why}")))?;
                Some(OwnCa { names, webhook_config: arguments.webhook_config })
            }
        };
        let has_access = arguments.access_file.is_some() || arguments.access.is_some();
        let has_tls = tls.is_some() || own_ca.is_some();
        let missing = match (has_tls, has_access) {
            (true, true) => None,
            (false, true) => Some("tokens would be sent in clear. Give --tls-cert and --tls-key, or --own-ca"),
            (true, false) => {
                Some("whoever reaches the port could change the mesh. Give --access-file or --access kubernetes")
            }
            (false, false) => Some(
                "there is no TLS, and whoever reaches the port could change the mesh. Give --tls-cert, --tls-key and \
                 --access-file; in a cluster --own-ca is enough for TLS",
            ),
        };
        for (flag, address) in listens {
            if let Some(missing) = missing.filter(|_| !address.ip().is_loopback() && !arguments.insecure_listen) {
                return Err(refuse(format!(
                    "{flag} {address}: not a loopback address, and {missing}; or use a loopback address, or give \
                     --insecure-listen where the network keeps others out"
                )));
            }
        }
        let [(_, discovery), (_, api)] = listens;
        if discovery.port() != 0 && discovery == api {
            return Err(refuse(format!("--api-listen {api}: is also --discovery-listen; give each its own port")));
        }
        let webhook = match arguments.webhook_listen {
            Some(listen) if !has_tls => {
                return Err(refuse(format!(
                    "--webhook-listen {listen}: an API server speaks TLS alone. Give --tls-cert and --tls-key, or --own-ca"
                )));
            }
            Some(listen) if listen.port() != 0 && [discovery, api].contains(&listen) => {
                return Err(refuse(format!("--webhook-listen {listen}: is another port's; give each its own port")));
            }
            Some(listen) => {
                let settings = Settings::of(&arguments.inject).map_err(|why| refuse(format!("--inject: {why}")))?;
                Some(WebhookPort { listen, settings })
            }
            None => None,
        };
        let store = StorePlace::parse(&arguments.store).map_err(|why| refuse(format!("--store {why}")))?;
        store.suits(arguments.store_ca.is_some(), arguments.store_user_file.is_some()).map_err(refuse)?;
        let store_credentials = Credentials {
            ca: arguments.store_ca,
            identity: arguments.store_cert.zip(arguments.store_key),
            ..Credentials::default()
        };
        let api_advertise = arguments.api_advertise.as_deref().map(Advertised::parse).transpose();
        let api_advertise = api_advertise.map_err(|why| refuse(format!("--api-advertise {why}")))?;
        let is_shared = matches!(store, StorePlace::Etcd { .. } | StorePlace::Kubernetes);
        if is_shared && api_advertise.is_none() && api.ip().is_unspecified() {
            return Err(refuse(format!(
                "--api-listen {api}: the other replicas on this store cannot tell where that is. Give --api-advertise, the \
                 address at which they reach this replica, as 10.0.0.1 or http://10.0.0.1:{}",
                api.port()
            )));
        }
        let (cluster, paths): (Vec<PathBuf>, Vec<PathBuf>) =
            arguments.discovery.into_iter().partition(|path| path.as_os_str() == CLUSTER);
        if !cluster.is_empty() && !cfg!(feature = "kubernetes") {
            return Err(refuse(
                "--discovery kubernetes: this program was built without the feature kubernetes".to_owned(),
            ));
        }
        let namespaces = discovery_namespaces(arguments.discovery_namespaces, !cluster.is_empty()).map_err(refuse)?;
        let discovery_cluster = (!cluster.is_empty()).then_some(namespaces);
        if arguments.access.is_some() && !cfg!(feature = "kubernetes") {
            return Err(refuse(
                "--access kubernetes: this program was built without the feature kubernetes".to_owned(),
            ));
        }
        if arguments.token_audience.is_empty() {
            return Err(refuse("--token-audience: is empty; it is what tokens are made for, as laneway.io".to_owned()));
        }
        let access_cluster = arguments.access.map(|Authority::Kubernetes| arguments.token_audience);
        let log = EnvFilter::try_new(&arguments.log)
            .map_err(|error| refuse(format!("--log {:?}: {error}", arguments.log)))?;
        if arguments.drain_max > 3600 {
            return Err(refuse(format!("--drain-max {}: at most 3600 seconds", arguments.drain_max)));
        }
        if arguments.drain_min > 0 && arguments.drain_min >= arguments.drain_max {
            let (min, max) = (arguments.drain_min, arguments.drain_max);
            return Err(refuse(format!(
                "--drain-min {min}: leaves no time until --drain-max {max}, which counts from SIGTERM too; allowed: less"
            )));
        }
        Ok(Config {
            store,
            store_credentials,
            store_user_file: arguments.store_user_file,
            kubernetes_namespace: arguments.kubernetes_namespace.unwrap_or_else(own_namespace),
            discovery: paths,
            discovery_cluster,
            discovery_listen: discovery,
            api_listen: api,
            api_advertise,
            peers,
            tls,
            own_ca,
            access_file: arguments.access_file,
            access_cluster,
            writes_per_second: arguments.writes_per_second,
            webhook,
            ready_file: arguments.ready_file,
            drain_min: std::time::Duration::from_secs(arguments.drain_min),
            drain_max: std::time::Duration::from_secs(arguments.drain_max),
            replica: arguments.replica.unwrap_or_else(host_name),
            log,
            log_format: arguments.log_format,
        })
    }
}

fn discovery_namespaces(mut namespaces: Vec<String>, has_cluster: bool) -> Result<Vec<String>, String> {
    namespaces.sort_unstable();
    namespaces.dedup();
    if !namespaces.is_empty() && !has_cluster {
        return Err(
            "--discovery-namespaces: says which namespaces of --discovery kubernetes, which is not given".to_owned()
        );
    }
    if namespaces.len() > DISCOVERY_NAMESPACES_MAX {
        let count = namespaces.len();
        return Err(format!(
            "--discovery-namespaces: {count} namespaces, more than {DISCOVERY_NAMESPACES_MAX}; leave it out for all"
        ));
    }
    match namespaces.iter().find(|namespace| !laneway_core::name::is_id(namespace)) {
        Some(bad) => {
            Err(format!("--discovery-namespaces {bad:?}: is no namespace; a namespace holds a-z, 0-9 and '-'"))
        }
        None => Ok(namespaces),
    }
}

impl Advertised {
    fn parse(text: &str) -> Result<Advertised, String> {
        if let Ok(address) = text.parse() {
            return Ok(Advertised::Address(address));
        }
        const SHAPE: &str = "is a URL, as http://10.0.0.1:15411 or http://[fd00::1]:15411, or an IP address alone";
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let authority = rest.and_then(|rest| rest.split('/').next()).filter(|authority| !authority.is_empty());
        let Some(authority) = authority else { return Err(format!("{text:?}: {SHAPE}")) };
        match authority.matches(':').count() > 1 && !authority.starts_with('[') {
            true => Err(format!("{text:?}: an address with several ':' has brackets around it; it {SHAPE}")),
            false => Ok(Advertised::Url(text.to_owned())),
        }
    }

    /// The URL, where we listen on that port.
    pub fn url(&self, scheme: &str, port: u16) -> String {
        match self {
            Advertised::Url(url) => url.clone(),
            // As text it has brackets where it needs them.
            Advertised::Address(address) => format!("{scheme}://{}", SocketAddr::new(*address, port)),
        }
    }
}

impl StorePlace {
    fn parse(text: &str) -> Result<StorePlace, String> {
        const SHAPE: &str =
            "is a file, `kubernetes`, or etcd://HOST:PORT[,HOST:PORT][/PREFIX], or the same with etcds:// for TLS";
        if text == KUBERNETES {
            return Ok(StorePlace::Kubernetes);
        }
        let (is_tls, rest) = match text.strip_prefix("etcds://") {
            Some(rest) => (true, Some(rest)),
            None => (false, text.strip_prefix("etcd://")),
        };
        let Some(rest) = rest else {
            return match text.split_once("://") {
                Some((scheme, _)) => Err(format!("{scheme}://: no such store; it {SHAPE}")),
                None if text.is_empty() => Err(format!("is empty; it {SHAPE}")),
                None => Ok(StorePlace::Sqlite(PathBuf::from(text))),
            };
        };
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ETCD_PREFIX));
        if hosts.contains('@') {
            return Err(
                "etcd://: a password is no part of it, where everybody sees it; give --store-user-file".to_owned()
            );
        }
        let endpoints: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        if endpoints.len() > ETCD_ENDPOINTS_MAX {
            return Err(format!("etcd://: names {} members, more than {ETCD_ENDPOINTS_MAX}", endpoints.len()));
        }
        for endpoint in &endpoints {
            let port =
                endpoint.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) {
                return Err(format!("etcd://: {endpoint:?} is no HOST:PORT; it {SHAPE}"));
            }
        }
        let prefix = prefix.trim_matches('/');
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte)) {
            return Err(format!("etcd://: the prefix {prefix:?} is not of letters, digits, '/', '-', '_' and '.'"));
        }
        Ok(StorePlace::Etcd { endpoints, prefix: format!("/{prefix}"), is_tls })
    }

    /// Do the flags about it belong to it?
    fn suits(&self, has_ca: bool, has_user: bool) -> Result<(), String> {
        let (endpoints, is_tls) = match self {
            StorePlace::Sqlite(_) if has_ca || has_user => {
                return Err(
                    "--store-ca and --store-user-file: --store is a file, and they are for etcds:// and etcd://"
                        .to_owned(),
                );
            }
            StorePlace::Kubernetes if has_ca || has_user => {
                return Err(
                    "--store-ca and --store-user-file: --store is the cluster, and they are for etcds:// and etcd://"
                        .to_owned(),
                );
            }
            StorePlace::Sqlite(_) | StorePlace::Kubernetes => return Ok(()),
            StorePlace::Etcd { endpoints, is_tls, .. } => (endpoints, *is_tls),
        };
        if is_tls != has_ca {
            return Err("--store-ca and etcds:// in --store go together".to_owned());
        }
        let is_loopback = |endpoint: &String| endpoint.parse::<SocketAddr>().is_ok_and(|at| at.ip().is_loopback());
        if has_user && !is_tls && !endpoints.iter().all(is_loopback) {
            return Err("--store-user-file: the password would be sent in clear; use etcds://, or a loopback address"
                .to_owned());
        }
        Ok(())
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

/// Of the ServiceAccount of the pod that this runs in.
fn own_namespace() -> String {
    let own = std::fs::read_to_string(OWN_NAMESPACE).map(|text| text.trim().to_owned()).unwrap_or_default();
    if own.is_empty() { NAMESPACE_DEFAULT.to_owned() } else { own }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "control".to_owned(), |name| name.trim().to_owned())
}
