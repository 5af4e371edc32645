use kube::core::Status;

use super::super::super::StoreError;
use super::{ASKED_AGAIN_MAX, ask};

fn refusal(code: u16) -> kube::Error {
    let reason = if code == 503 { "ServiceUnavailable" } else { "Reason" };
    kube::Error::Api(Status::failure("no", reason).with_code(code).boxed())
}

/// What comes of answers with these codes, 200 at the end, and how many of them were asked for.
async fn asked(codes: &[u16]) -> (Result<(), StoreError>, usize) {
    let mut count = 0;
    let done = ask("ask", || {
        let code = codes.get(count).copied();
        count += 1;
        async move { code.map_or(Ok(()), |code| Err(refusal(code))) }
    });
    (done.await, count)
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_has_no_room_for_is_asked_again_and_not_for_ever() {
    assert!(matches!(asked(&[429, 503, 429]).await, (Ok(()), 4)));
    let busy = vec![429; 100];
    let (done, count) = asked(&busy).await;
    assert!(matches!(done, Err(StoreError::Away(_))), "{done:?}");
    assert_eq!(count, ASKED_AGAIN_MAX as usize + 1);
    // By a proxy, not by the API server.
    let of_proxy = || kube::Error::Api(Status::failure("<html>", "Failed to parse error data").with_code(503).boxed());
    let mut count = 0;
    let asked_once = ask("ask", || {
        count += 1;
        async { Err::<(), _>(of_proxy()) }
    });
    assert!(matches!(asked_once.await, Err(StoreError::Away(_))));
    assert_eq!(count, 1);
    // Anything else is an answer, or may have been done.
    for code in [404, 409, 500, 504] {
        let (done, count) = asked(&[code]).await;
        assert!(done.is_err() && count == 1, "{code}: {done:?}");
    }
}
