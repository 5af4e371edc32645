//! The contract: all that two Laneway processes must agree on.
//!
//! Generated wire types of `proto/**/*.proto`, and in [`contract`] the names and limits that are not messages. Nothing here
//! decides or does anything. Everybody imports it; it imports nobody. The gRPC services stand behind the features
//! `client` and `server`.

#[cfg(any(feature = "client", feature = "server"))]
pub mod codec;
pub mod contract;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prost_reflect::DescriptorPool;

/// The same as bytes (a `FileDescriptorSet` without comments): what server reflection gives out.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Descriptors of every message of the contract: what the document reader and JSON output go by. Two megabytes and ten milliseconds:
/// made when they are first asked for, shared, and gone with the last who holds them. A sidecar needs them only while it reads a file.
pub fn descriptors() -> Arc<DescriptorPool> {
    static SHARED: Mutex<Weak<DescriptorPool>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let pool = DescriptorPool::decode(DESCRIPTOR_SET).expect("the descriptors were compiled with this crate");
        let pool = Arc::new(pool);
        *shared = Arc::downgrade(&pool);
        pool
    })
}

// Generated code; its comments are those of the .proto files.
#[allow(clippy::all, rustdoc::all, unreachable_pub, missing_docs, rust_2018_idioms)]
mod generated {
    pub mod envoy {
        pub mod service {
            pub mod discovery {
                pub mod v3 {
                    include!(concat!(env!("OUT_DIR"), "/envoy.service.discovery.v3.rs"));
                }
            }
        }
    }
    pub mod google {
        pub mod rpc {
            include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
        }
    }
    pub mod grpc {
        pub mod health {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
            }
        }
    }
    pub mod laneway {
        pub mod routing {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/laneway.routing.v1.rs"));
            }
        }
        pub mod discovery {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/laneway.discovery.v1.rs"));
            }
        }
        pub mod admin {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/laneway.admin.v1.rs"));
            }
        }
        pub mod status {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/laneway.status.v1.rs"));
            }
        }
        pub mod telemetry {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/laneway.telemetry.v1.rs"));
            }
        }
    }
}

pub use generated::envoy::service::discovery::v3 as xds;
pub use generated::google::rpc;
pub use generated::grpc::health::v1 as health;
pub use generated::laneway::admin::v1 as admin;
pub use generated::laneway::discovery::v1 as discovery;
pub use generated::laneway::routing::v1 as routing;
pub use generated::laneway::status::v1 as status;
pub use generated::laneway::telemetry::v1 as telemetry;
