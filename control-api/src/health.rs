//! gRPC's health protocol, on both ports: serving, and not serving from the first word of the end on.
//!
//! Our own few lines, for with those of tonic-health whoever watches would hold up the drain to its end.

use std::pin::Pin;

use laneway_proto::health::health_check_response::ServingStatus;
use laneway_proto::health::health_server;
use laneway_proto::health::{HealthCheckRequest, HealthCheckResponse};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::drain::Draining;

/// The state of some services, which is that of the process.
pub struct Health {
    services: &'static [&'static str],
    draining: Draining,
}

/// The service, for a server whose other services these are.
pub fn service(services: &'static [&'static str], draining: Draining) -> health_server::HealthServer<Health> {
    health_server::HealthServer::new(Health { services, draining })
}

impl Health {
    fn status(&self, service: &str) -> ServingStatus {
        match service {
            known if !known.is_empty() && !self.services.contains(&known) => ServingStatus::ServiceUnknown,
            _ if self.draining.is_leaving() => ServingStatus::NotServing,
            _ => ServingStatus::Serving,
        }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match self.status(&service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!("there is no service {service:?}"))),
            status => Ok(Response::new(HealthCheckResponse { status: status.into() })),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let status = self.status(&request.into_inner().service);
        // Two states are all that there will be.
        let (states, stream) = mpsc::channel(2);
        let state = |status: ServingStatus| Ok(HealthCheckResponse { status: status.into() });
        let mut draining = self.draining.clone();
        tokio::spawn(async move {
            let _ = states.send(state(status)).await;
            tokio::select! {
                () = draining.leaving() => {
                    if status == ServingStatus::Serving {
                        let _ = states.send(state(ServingStatus::NotServing)).await;
                    }
                }
                () = states.closed() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
