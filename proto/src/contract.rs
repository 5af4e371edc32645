//! Names and limits that two of our processes must agree on and that no message says.
//!
//! A limit that compile keeps and decode checks stands here once; never copy one of these.

/// The tag header where a group does not say otherwise.
pub const TAG_HEADER: &str = "x-mse-tag";
/// The member of W3C `tracestate` that carries the tag.
pub const TRACESTATE_MEMBER: &str = "laneway";
/// Why the sidecar itself refused a request, and what.
pub const ERROR_HEADER: &str = "x-laneway-error";
/// Service, tag and why of each hop, where the group asks for it.
pub const PATH_HEADER: &str = "x-laneway-path";
/// What one sidecar tells the next about a request: handed over, or in a lane. No application sees it.
pub const HOP_HEADER: &str = "x-laneway-hop";
/// For how long what a request of a lane causes stays in that lane where a sidecar finds it off. Long enough for a switch to reach
/// every sidecar while a request is on its way, short enough for a lane to end when it is told to.
pub const FOLLOW_SECONDS_MAX: u32 = 10;
/// The value of a request that says: no lane, and do not colour me.
pub const BASELINE: &str = "baseline";

/// Longest tag, bytes (one DNS label).
pub const TAG_BYTES_MAX: usize = 63;
/// Pass headers of a group, and the longest value that is carried on, bytes.
pub const PASS_HEADERS_MAX: usize = 32;
pub const PASS_HEADER_VALUE_BYTES_MAX: usize = 1024;
/// Names of trace and request ids that a group may list.
pub const CORRELATE_HEADERS_MAX: usize = 32;
/// Deepest nesting of a condition, and tests in one.
pub const CONDITION_DEPTH_MAX: usize = 8;
pub const CONDITION_TESTS_MAX: usize = 256;
/// Values of `in` in one rule, and their bytes together.
pub const IN_VALUES_MAX: usize = 100_000;
pub const IN_BYTES_MAX: usize = 4 << 20;
/// A regular expression: bytes of the text, and of the compiled program.
pub const REGEX_BYTES_MAX: usize = 1024;
pub const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Rules of a lane, and of a policy.
pub const RULES_MAX: usize = 256;
/// Tags of one weighted choice, and the largest weight.
pub const WEIGHTED_TAGS_MAX: usize = 16;
pub const WEIGHT_MAX: u32 = 1_000_000;
/// Keys of a sticky choice, and bytes of its salt.
pub const STICKY_KEYS_MAX: usize = 4;
pub const SALT_BYTES_MAX: usize = 128;
/// Tags of a fallback chain.
pub const CHAIN_MAX: usize = 8;
/// How long a lane may be told to last.
pub const TTL_MIN: std::time::Duration = std::time::Duration::from_secs(60);
pub const TTL_MAX: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);
/// What a guard looks back over, seconds, and on how many requests it judges.
pub const GUARD_WINDOW_MIN_S: u32 = 10;
pub const GUARD_WINDOW_MAX_S: u32 = 3600;
pub const GUARD_WINDOW_DEFAULT_S: u32 = 60;
pub const GUARD_REQUESTS_DEFAULT: u32 = 100;
/// Endpoints in one Endpoints resource.
pub const SHARD_ENDPOINTS_MAX: usize = 500;
/// A share's whole, in basis points.
pub const BASIS_POINTS: u32 = 10_000;
/// Largest discovery message that a sidecar takes, and the size at which the server cuts a response.
pub const DISCOVERY_MESSAGE_BYTES_MAX: usize = 16 << 20;
pub const DISCOVERY_RESPONSE_BYTES: usize = 1 << 20;
/// Largest single resource. It is never cut, so it must fit into one message, with room for its names: a sidecar asks for
/// 2,000 keys at most, and each that stands for it is told with it.
pub const RESOURCE_BYTES_MAX: usize = DISCOVERY_MESSAGE_BYTES_MAX - (1 << 20);
/// Largest discovery request that the server takes, and names one stream may subscribe to.
pub const DISCOVERY_REQUEST_BYTES_MAX: usize = 64 << 10;
pub const DISCOVERY_NAMES_MAX: usize = 10_000;

/// What a sidecar takes for the time over which all of them come back to a control plane that was away.
pub const RETURN_SPREAD_MIN: std::time::Duration = std::time::Duration::from_millis(100);
pub const RETURN_SPREAD_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// Ports. Outbound, inbound, status, admin of a sidecar; discovery, admin API, webhook of the control plane.
pub const PORT_OUTBOUND: u16 = 15401;
pub const PORT_INBOUND: u16 = 15406;
pub const PORT_STATUS: u16 = 15421;
pub const PORT_ADMIN: u16 = 15400;
pub const PORT_DISCOVERY: u16 = 15410;
pub const PORT_CONTROL: u16 = 15411;
pub const PORT_WEBHOOK: u16 = 15443;
/// Endpoints whose port name begins so are called by whoever dials one of them alone, never by an address of their service.
pub const PORT_NAME_ASIDE: &str = "aside.";
/// Below it the status port of a sidecar tells whether its application takes connections on a port: `/app-health/8080`.
pub const APP_HEALTH_PATH: &str = "/app-health/";
/// Ports that a sidecar may be asked about; more than one pod's probes dial.
pub const PROBE_PORTS_MAX: usize = 64;
/// The proxy's uid: its own traffic is not redirected.
pub const PROXY_UID: u32 = 2337;
/// Where the inbound sidecar calls its application from, so that the redirect lets it through.
pub const INBOUND_SOURCE_V4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 6);
pub const INBOUND_SOURCE_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// Environment of a sidecar.
pub const ENV_TAG: &str = "LANEWAY_TAG";
/// Read where [`ENV_TAG`] is not set, in this order.
pub const ENV_TAG_COMPAT: [&str; 2] = ["MSE_ALICLOUD_SERVICE_TAG", "ALICLOUD_SERVICE_TAG"];
pub const ENV_SERVICE: &str = "LANEWAY_SERVICE";
pub const ENV_NAMESPACE: &str = "LANEWAY_NAMESPACE";
/// Where nothing else is said.
pub const NAMESPACE_DEFAULT: &str = "default";
pub const GROUP_DEFAULT: &str = "default";

/// Resource types of discovery, in the order in which they are pushed.
pub const TYPE_ENDPOINTS: &str = "type.googleapis.com/laneway.discovery.v1.Endpoints";
pub const TYPE_SERVICE: &str = "type.googleapis.com/laneway.discovery.v1.Service";
pub const TYPE_SERVICE_POLICY: &str = "type.googleapis.com/laneway.discovery.v1.ServicePolicy";
pub const TYPE_LANE_GROUP: &str = "type.googleapis.com/laneway.discovery.v1.LaneGroup";
pub const TYPE_LANE: &str = "type.googleapis.com/laneway.discovery.v1.Lane";
pub const TYPE_PEER: &str = "type.googleapis.com/laneway.discovery.v1.Peer";
pub const TYPE_PROXY_CONFIG: &str = "type.googleapis.com/laneway.discovery.v1.ProxyConfig";
pub const TYPE_RECONNECT: &str = "type.googleapis.com/laneway.discovery.v1.Reconnect";
