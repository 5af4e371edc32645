//! The client of one watch, which tells when the API server opens it: one that has nothing to tell is silent for as long as one that is dead,
//! and a watch is opened anew each minute. And which asks again for a page of a list that the API server has no room for: without it the list
//! would begin with its first page again, and a long one never end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use tokio::sync::mpsc;
use tonic::codegen::Service;

use super::News;

/// How often a page is asked for again, and the first pause, doubled each time: 3 s in all.
const ASKED_AGAIN_MAX: u32 = 5;
const ASK_AGAIN: Duration = Duration::from_millis(100);

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
            let response = match is_watch || request.method() != Method::GET {
                true => client.send(request).await?,
                false => patient(&client, request).await?,
            };
            if is_watch && response.status().is_success() {
                // Where there is no room, there is news that says as much.
                let _ = send.try_send((at, News::Opened));
            }
            Ok(response)
        })
    }
}

/// Something that is read, asked for again while there is no room for it. What is refused longer than that is told as it is.
async fn patient(client: &Client, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
    let (parts, _) = request.into_parts();
    for attempt in 0..ASKED_AGAIN_MAX {
        let response = client.send(Request::from_parts(parts.clone(), Body::empty())).await?;
        let has_room = ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT]
            .contains(&response.status());
        if has_room {
            return Ok(response);
        }
        tokio::time::sleep(ASK_AGAIN * (1 << attempt)).await;
    }
    client.send(Request::from_parts(parts, Body::empty())).await
}
