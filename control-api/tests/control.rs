//! The real programs, over loopback: what a user of laneway-control and lanectl sees. One binary, so that it links once.

mod control {
    mod api;
    mod audit;
    mod calls;
    mod crash;
    mod etcd;
    mod explain;
    mod history;
    mod http;
    mod lanectl;
    mod lanectl_history;
    mod program;
    mod push;
    mod reflection;
    mod replicas;
    mod sidecar;
    mod transcript;
    mod watch;
}
