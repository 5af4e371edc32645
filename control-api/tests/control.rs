//! The real programs, over loopback: what a user of laneway-control and lanectl sees. One binary, so that it links once.

mod control {
    mod api;
    mod audit;
    mod crash;
    mod etcd;
    mod explain;
    mod history;
    mod lanectl;
    mod lanectl_history;
    mod program;
    mod push;
    mod replicas;
    mod sidecar;
    mod transcript;
}
