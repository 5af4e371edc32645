//! The real programs, over loopback: what a user of laneway-control and lanectl sees. One binary, so that it links once.

mod control {
    mod access;
    mod api;
    mod api_document;
    mod audit;
    mod calls;
    mod certificates;
    mod crash;
    mod etcd;
    mod explain;
    mod grpcurl;
    mod history;
    mod http;
    mod inject;
    mod lanectl;
    mod lanectl_history;
    mod peers;
    mod program;
    mod push;
    mod reflection;
    mod replicas;
    mod sidecar;
    mod stats;
    mod terminal;
    mod tls;
    mod transcript;
    mod watch;
    mod webhook;
}
