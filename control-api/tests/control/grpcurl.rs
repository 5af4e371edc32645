//! What grpcurl does, in Rust: knows nothing of the contract, learns all of it by reflection, lists, and calls by what it learnt.

use laneway_proto::descriptors;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use prost_types::FileDescriptorProto;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::program::{Control, SHOP, channel};

/// A server, as reflection describes it.
pub(super) struct Reflected {
    channel: Channel,
    pub(super) services: Vec<String>,
    pool: DescriptorPool,
}

impl Reflected {
    pub(super) async fn of(server: &str) -> Reflected {
        let channel = channel(server).await;
        let mut services = match ask(&channel, MessageRequest::ListServices(String::new())).await {
            MessageResponse::ListServicesResponse(list) => list.service.into_iter().map(|s| s.name).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        services.sort();
        let mut files: Vec<FileDescriptorProto> = Vec::new();
        let mut wanted: Vec<MessageRequest> =
            services.iter().map(|service| MessageRequest::FileContainingSymbol(service.clone())).collect();
        while let Some(next) = wanted.pop() {
            let found = match ask(&channel, next).await {
                MessageResponse::FileDescriptorResponse(found) => found.file_descriptor_proto,
                other => panic!("{other:?}"),
            };
            for bytes in found {
                let file = FileDescriptorProto::decode(bytes.as_slice()).expect("a file");
                if files.iter().any(|known| known.name == file.name) {
                    continue;
                }
                wanted.extend(file.dependency.iter().cloned().map(MessageRequest::FileByFilename));
                files.push(file);
            }
        }
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files).expect("nothing is missing");
        Reflected { channel, services, pool }
    }

    /// `package.Service/Method`, all of them.
    pub(super) fn methods(&self) -> Vec<String> {
        let services = self.services.iter().map(|name| self.pool.get_service_by_name(name).expect("it is described"));
        let methods = services.flat_map(|service| service.methods().map(|m| path(&m)).collect::<Vec<_>>());
        methods.collect()
    }

    /// A call with a request in JSON: the answer in JSON.
    pub(super) async fn call(&self, method: &str, request: &str) -> Result<serde_json::Value, Status> {
        let (service, name) = method.split_once('/').expect("package.Service/Method");
        let service = self.pool.get_service_by_name(service).expect("the service is described");
        let method = service.methods().find(|method| method.name() == name).expect("the method is described");
        let mut json = serde_json::Deserializer::from_str(request);
        let request = DynamicMessage::deserialize(method.input(), &mut json).expect("it is a request of the method");
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = format!("/{}", path(&method)).parse().expect("a path");
        let answer = client.unary(Request::new(request), path, Dynamic(method)).await?;
        Ok(serde_json::to_value(answer.into_inner()).expect("it has a form in JSON"))
    }
}

fn path(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

async fn ask(channel: &Channel, what: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(what) };
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.expect("it is served");
    let answer = answers.into_inner().message().await.expect("it answers").expect("it answers");
    answer.message_response.expect("an answer")
}

/// Messages of a method that nobody compiled in.
struct Dynamic(MethodDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = DynamicEncoder;
    type Decoder = DynamicDecoder;

    fn encoder(&mut self) -> DynamicEncoder {
        DynamicEncoder
    }

    fn decoder(&mut self) -> DynamicDecoder {
        DynamicDecoder(self.0.clone())
    }
}

struct DynamicEncoder;
struct DynamicDecoder(MethodDescriptor);

impl Encoder for DynamicEncoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for DynamicDecoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.output(), buffer);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

#[tokio::test]
async fn every_service_and_method_is_listed_and_called_by_reflection_alone() {
    let control = Control::start();
    control.apply(SHOP);
    let mut listed = Vec::new();
    for server in [&control.api, &control.discovery] {
        listed.extend(Reflected::of(server).await.methods());
    }
    // What the contract has beside imports: every method of ours is there, under the name that it has there.
    let ours = ["laneway.admin.v1.LaneAdmin", "laneway.status.v1.MeshStatus", "laneway.telemetry.v1.LaneStats"];
    for service in ours {
        let service = descriptors().get_service_by_name(service).expect("it is in the contract");
        for method in service.methods() {
            assert!(listed.contains(&path(&method)), "{} is not listed", method.full_name());
        }
    }

    let api = Reflected::of(&control.api).await;
    let found = api.call("laneway.admin.v1.LaneAdmin/ListLanes", r#"{"parent": "namespaces/-/laneGroups/-"}"#).await;
    let found = found.expect("it is answered");
    assert_eq!(found["lanes"][0]["name"], "namespaces/default/laneGroups/shop/lanes/gray", "{found}");
    let switched = r#"{"name": "namespaces/default/laneGroups/shop/lanes/gray", "waitTimeout": "5s"}"#;
    let found = api.call("laneway.admin.v1.LaneAdmin/DisableLane", switched).await.expect("it is done");
    assert_eq!(
        (&found["lane"]["state"], &found["rollout"]["done"]),
        (&"STATE_DISABLED".into(), &true.into()),
        "{found}"
    );
    let nothing = r#"{"name": "namespaces/default/laneGroups/shop/lanes/nothing"}"#;
    let refused = api.call("laneway.admin.v1.LaneAdmin/GetLane", nothing).await.expect_err("it is not there");
    assert_eq!(refused.code(), Code::NotFound);
}
