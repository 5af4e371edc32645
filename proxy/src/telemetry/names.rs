//! Every metric of the sidecar: its name, its labels, what it says. docs/metrics.md has a row for each, and how to misread it; a
//! test compares the two.

/// One metric, or a family of them.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

macro_rules! metrics {
    ($($constant:ident = $name:literal $kind:ident [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) static $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All of them, in the order of the page.
        #[cfg(test)]
        pub(crate) static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    REQUESTS = "laneway_requests_total" Counter
        ["direction", "service", "tag", "peer_service", "peer_tag", "group", "lane", "protocol", "code", "why", "source"]
        "Requests that have ended, by lane and by where they went and why";
    DURATION = "laneway_request_duration_seconds" Histogram
        ["direction", "service", "lane", "peer_service"]
        "From the head of a request to the last byte of its answer";
    REQUEST_BYTES = "laneway_request_bytes_total" Counter
        ["direction", "service", "lane", "peer_service"]
        "Bytes of request bodies, without heads and framing";
    RESPONSE_BYTES = "laneway_response_bytes_total" Counter
        ["direction", "service", "lane", "peer_service"]
        "Bytes of answers' bodies, without heads and framing";
    TAG_SOURCE = "laneway_tag_source_total" Counter
        ["direction", "source"]
        "Requests that have ended, by who gave them their tag";
    TAG_REJECTED = "laneway_tag_rejected_total" Counter
        ["reason"]
        "Carried tags that were not taken as they came";
    ESCAPES = "laneway_escapes_total" Counter
        ["lane"]
        "Calls to services of the group that left without a tag while requests of a lane were in flight, by the lane that they may have lost";
    AMBIGUOUS = "laneway_ambiguous_total" Counter
        ["kind"]
        "Outbound calls whose tag nothing told for certain: an id of two contexts, or several tags in flight";
    RULE_MATCHES = "laneway_rule_matches_total" Counter
        ["lane", "rule", "mode"]
        "Inbound requests that an entry rule took, or with mode dry_run would have; not those of carried tags and of stamping";
    OPAQUE_OPENED = "laneway_tcp_connections_opened_total" Counter
        ["direction", "service", "tag", "peer_service", "peer_tag", "group", "lane", "why"]
        "Connections whose bytes are not read, when they were decided";
    OPAQUE_CLOSED = "laneway_tcp_connections_closed_total" Counter
        ["direction", "service", "tag", "peer_service", "peer_tag", "group", "lane"]
        "The same, when they ended";
    OPAQUE_RECEIVED = "laneway_tcp_received_bytes_total" Counter
        ["direction", "service", "tag", "peer_service", "peer_tag", "group", "lane"]
        "Bytes that this pod received over such connections";
    OPAQUE_SENT = "laneway_tcp_sent_bytes_total" Counter
        ["direction", "service", "tag", "peer_service", "peer_tag", "group", "lane"]
        "Bytes that this pod sent over such connections";
    CONNECTIONS_OPENED = "laneway_connections_opened_total" Counter
        ["direction"]
        "Client connections taken";
    CONNECTIONS = "laneway_connections" Gauge
        ["direction"]
        "Client connections open now";
    FAILURES = "laneway_failures_total" Counter
        ["reason"]
        "Requests and connections that failed here";
    GATE_REFUSED = "laneway_gate_refused_total" Counter
        ["reason"]
        "Requests refused for what they say, before anything was decided";
    ANSWERS_REFUSED = "laneway_answers_refused_total" Counter
        ["reason"]
        "Answers of instances refused for what they say";
    RETRIES = "laneway_retries_total" Counter
        ["cause"]
        "Requests that went to another instance because the first did not answer";
    RETRIES_REFUSED = "laneway_retries_refused_total" Counter
        []
        "Requests that would have, and did not because the budget was used up";
    STREAMS_ENDED = "laneway_streams_ended_total" Counter
        ["kind"]
        "What ran on instances that went away and was ended, because the policy of their service says so";
    EJECTIONS = "laneway_ejections_total" Counter
        ["service", "tag"]
        "Times that an instance was taken out of the choice because it failed";
    EJECTED = "laneway_endpoints_ejected" Gauge
        ["service", "tag"]
        "Instances that are out of the choice now";
    PANICS = "laneway_panics_total" Counter
        []
        "Connections that ended by a bug of ours";
    SERIES_DROPPED = "laneway_series_dropped_total" Counter
        []
        "How often a new series found no room, and was counted as `other`";
    ENDPOINTS = "laneway_endpoints" Gauge
        ["service", "tag", "state"]
        "Endpoints that this sidecar knows of services that it called or is";
    CONFIG_INFO = "laneway_config_info" Gauge
        ["type", "version"]
        "1 for each resource type that is held; the version is a hash of names and versions of its resources";
    CONFIG_REVISION = "laneway_config_revision" Gauge
        []
        "Configurations that were put in force since the start";
    CONFIG_AGE = "laneway_config_age_seconds" Gauge
        []
        "Time since the last one";
    CONFIG_RECALLED = "laneway_config_recalled" Gauge
        []
        "What is in force was on disk; the control plane has said nothing new yet";
    CONFIG_RESOURCES = "laneway_config_resources" Gauge
        []
        "Resources that are held";
    CONTROL_CONNECTED = "laneway_control_connected" Gauge
        ["source"]
        "A stream to the control plane stands";
    CONTROL_REFUSALS = "laneway_control_refusals_total" Counter
        []
        "Responses, or states of the file, with something that was refused";
    CONTROL_PANICS = "laneway_control_panics_total" Counter
        []
        "Bugs of ours in taking a configuration; the last good one stayed";
    CACHE_FAILURES = "laneway_cache_failures_total" Counter
        []
        "Times that the configuration could not be written to disk";
    ACCESS_LOG_LINES = "laneway_access_log_lines_total" Counter
        ["outcome"]
        "Lines of the access log that were taken to be written, or dropped because nobody takes them fast enough";
    ACCESS_LOG_FAILURES = "laneway_access_log_write_failures_total" Counter
        []
        "Writes of the access log that failed, of one line or many";
    TRACE_SPANS = "laneway_trace_spans_total" Counter
        ["outcome"]
        "Spans that the collector took, did not take, or that were dropped because too many waited";
    BUILD = "laneway_build_info" Gauge
        ["version", "service", "tag", "namespace"]
        "1: version of this program, and whose sidecar it is";
    CPU = "process_cpu_seconds_total" Counter
        []
        "User and system time of this process";
    RESIDENT = "process_resident_memory_bytes" Gauge
        []
        "Resident memory of this process";
    VIRTUAL = "process_virtual_memory_bytes" Gauge
        []
        "Virtual memory of this process";
    THREADS = "process_threads" Gauge
        []
        "Threads of this process";
    OPEN_FDS = "process_open_fds" Gauge
        []
        "Open file descriptors of this process";
    MAX_FDS = "process_max_fds" Gauge
        []
        "How many it may have";
    START_TIME = "process_start_time_seconds" Gauge
        []
        "When this process started, since the Unix epoch";
}
