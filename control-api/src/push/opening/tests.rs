//! Streams that say something, or nothing, and go on for ever.

use std::convert::Infallible;

use bytes::Bytes;
use laneway_proto::telemetry::ReportLaneStatsRequest;
use tokio_stream::StreamExt;
use tonic::Streaming;
use tonic::codec::Codec;
use tonic_prost::ProstCodec;

/// A request stream with these messages, and then silence.
pub(in crate::push) fn streaming<T: prost::Message + Default + 'static>(messages: &[T]) -> Streaming<T> {
    let frame = |message: &T| {
        let bytes = message.encode_to_vec();
        let length = u32::try_from(bytes.len()).expect("it is short").to_be_bytes();
        // Not compressed, the length, the message.
        Ok::<_, Infallible>(Bytes::from([&[0], &length[..], &bytes].concat()))
    };
    let frames: Vec<_> = messages.iter().map(frame).collect();
    let body = axum::body::Body::from_stream(tokio_stream::iter(frames).chain(tokio_stream::pending()));
    Streaming::new_request(ProstCodec::<T, T>::default().decoder(), body, None, None)
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_not_waited_for() {
    let first = ReportLaneStatsRequest { node_id: "a".to_owned(), ..ReportLaneStatsRequest::default() };
    let heard = super::first(&mut streaming(std::slice::from_ref(&first))).await;
    assert_eq!(heard.expect("it comes"), Some(first));
    let begun = tokio::time::Instant::now();
    let heard = super::first(&mut streaming::<ReportLaneStatsRequest>(&[])).await;
    assert_eq!(heard.expect_err("it says nothing").code(), tonic::Code::DeadlineExceeded);
    assert_eq!(begun.elapsed().as_secs(), 10);
}
