//! What a tool finds that knows nothing of the contract, on both ports: services, methods, health.

use laneway_proto::health::HealthCheckRequest;
use laneway_proto::health::health_check_response::ServingStatus;
use laneway_proto::health::health_client::HealthClient;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;
use tonic::Code;
use tonic_reflection::pb::{v1, v1alpha};

use super::program::{Control, channel};

macro_rules! asked {
    ($version:ident, $server:expr, $request:expr) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;
        use $version::{ListServiceResponse, ServerReflectionRequest};
        let message_request = Some(match $request {
            "" => MessageRequest::ListServices(String::new()),
            symbol => MessageRequest::FileContainingSymbol(symbol.to_owned()),
        });
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let mut client = ServerReflectionClient::new(channel($server).await);
        let answers = client.server_reflection_info(tokio_stream::once(request)).await.expect("it is served");
        let answer = answers.into_inner().message().await.expect("it answers").expect("it answers");
        let (mut names, mut files) = (Vec::new(), Vec::new());
        match answer.message_response.expect("an answer") {
            MessageResponse::ListServicesResponse(ListServiceResponse { service }) => {
                names.extend(service.into_iter().map(|service| service.name));
            }
            MessageResponse::FileDescriptorResponse(found) => files = found.file_descriptor_proto,
            other => panic!("{other:?}"),
        }
        names.sort();
        (names, files)
    }};
}

#[tokio::test]
async fn both_ports_list_their_services_and_describe_them() {
    let control = Control::start();
    let reflections = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
    for (server, own) in [
        (&control.api, &["grpc.health.v1.Health", "laneway.admin.v1.LaneAdmin", "laneway.status.v1.MeshStatus"][..]),
        (
            &control.discovery,
            &[
                "envoy.service.discovery.v3.AggregatedDiscoveryService",
                "grpc.health.v1.Health",
                "laneway.telemetry.v1.LaneStats",
            ],
        ),
    ] {
        for (names, reflection) in
            [(asked!(v1, server, "").0, reflections[0]), (asked!(v1alpha, server, "").0, reflections[1])]
        {
            let mut expected: Vec<&str> = own.to_vec();
            expected.push(reflection);
            expected.sort_unstable();
            assert_eq!(names, expected);
        }
        for service in own {
            let found = DescribedService::of(server, service).await;
            assert!(found.methods > 0, "{service}");
        }
    }
    assert_eq!(DescribedService::of(&control.api, "laneway.admin.v1.LaneAdmin").await.methods, 25);
}

/// A service, put together from what reflection gives out alone.
struct DescribedService {
    methods: usize,
}

impl DescribedService {
    async fn of(server: &str, service: &str) -> DescribedService {
        let (mut pool, mut asked, mut wanted) = (Vec::new(), Vec::new(), vec![service.to_owned()]);
        while let Some(symbol) = wanted.pop() {
            let files: Vec<Vec<u8>> = match symbol.strip_suffix(".proto") {
                Some(_) => file(server, &symbol).await,
                None => asked!(v1, server, symbol.as_str()).1,
            };
            for bytes in files {
                let file = FileDescriptorProto::decode(bytes.as_slice()).expect("a file");
                for dependency in &file.dependency {
                    if !asked.contains(dependency) {
                        asked.push(dependency.clone());
                        wanted.push(dependency.clone());
                    }
                }
                if !pool.iter().any(|known: &FileDescriptorProto| known.name == file.name) {
                    pool.push(file);
                }
            }
        }
        let mut descriptors = DescriptorPool::new();
        descriptors.add_file_descriptor_protos(pool).expect("nothing is missing");
        let service = descriptors.get_service_by_name(service).expect("the service is described");
        DescribedService { methods: service.methods().len() }
    }
}

async fn file(server: &str, name: &str) -> Vec<Vec<u8>> {
    use v1::ServerReflectionRequest;
    use v1::server_reflection_client::ServerReflectionClient;
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileByFilename(name.to_owned())),
    };
    let mut client = ServerReflectionClient::new(channel(server).await);
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.expect("it is served");
    let answer = answers.into_inner().message().await.expect("it answers").expect("it answers");
    match answer.message_response.expect("an answer") {
        MessageResponse::FileDescriptorResponse(found) => found.file_descriptor_proto,
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn both_ports_say_how_they_are_and_that_they_drain() {
    let mut control = Control::start();
    let mut watched = Vec::new();
    for (server, service) in [
        (&control.api, "laneway.admin.v1.LaneAdmin"),
        (&control.discovery, "envoy.service.discovery.v3.AggregatedDiscoveryService"),
    ] {
        let mut health = HealthClient::new(channel(server).await);
        for service in ["", service] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let state = health.check(request.clone()).await.expect("it is known").into_inner().status();
            assert_eq!(state, ServingStatus::Serving, "{service}");
            let mut states = health.watch(request).await.expect("it is known").into_inner();
            let first = states.message().await.expect("it answers").expect("it answers");
            assert_eq!(first.status(), ServingStatus::Serving);
            watched.push(states);
        }
        let unknown = HealthCheckRequest { service: "laneway.Nobody".to_owned() };
        assert_eq!(health.check(unknown.clone()).await.expect_err("it is not known").code(), Code::NotFound);
        let mut states = health.watch(unknown).await.expect("it may come").into_inner();
        let first = states.message().await.expect("it answers").expect("it answers");
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    }
    let (status, _) = control.terminate().await;
    assert_eq!(status, Some(0));
    assert!(!control.log().contains("cut what was still running"), "{}", control.log());
    for mut states in watched {
        let last = states.message().await.expect("it answers").expect("it answers");
        assert_eq!(last.status(), ServingStatus::NotServing);
        assert!(states.message().await.expect("it ends well").is_none());
    }
}
