//! Server reflection, on both ports: grpcurl and its like find the methods without a copy of the contract.

use laneway_proto::DESCRIPTOR_SET;
use tonic_reflection::server::{Builder, v1, v1alpha};

/// The service in its version of today, and in the one that older tools ask for, for a server with these services.
pub fn services(
    served: &[&'static str],
) -> (
    v1::ServerReflectionServer<impl v1::ServerReflection>,
    v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>,
) {
    let builder = |own: &str| {
        let all = Builder::configure().register_encoded_file_descriptor_set(DESCRIPTOR_SET).with_service_name(own);
        served.iter().fold(all, |builder, service| builder.with_service_name(*service))
    };
    let fits = "the descriptors were compiled with this program";
    let v1 = builder("grpc.reflection.v1.ServerReflection").build_v1().expect(fits);
    (v1, builder("grpc.reflection.v1alpha.ServerReflection").build_v1alpha().expect(fits))
}
