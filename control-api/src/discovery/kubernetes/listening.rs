//! The client of one watch, which tells when the API server opens it: one that has nothing to tell is silent for as long as one that is dead,
//! and a watch is opened anew each minute.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::mpsc;
use tonic::codegen::Service;

use super::News;

struct Listening {
    client: Client,
    at: usize,
    send: mpsc::Sender<(usize, News)>,
}

/// As `client`, for the source at `at`.
pub(super) fn client(client: &Client, at: usize, send: mpsc::Sender<(usize, News)>) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Listening { client: client.clone(), at, send }, namespace)
}

impl Service<Request<Body>> for Listening {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        // The client waits until it is, for each request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, at, send) = (self.client.clone(), self.at, self.send.clone());
        let parameters = request.uri().query().unwrap_or_default();
        // A list that is read tells so itself, when all of it is.
        let is_watch = parameters.split('&').any(|parameter| parameter == "watch=true");
        Box::pin(async move {
            let response = client.send(request).await?;
            if is_watch && response.status().is_success() {
                // Where there is no room, there is news that says as much.
                let _ = send.try_send((at, News::Opened));
            }
            Ok(response)
        })
    }
}
