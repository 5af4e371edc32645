//! Applications that take connections, that do not, and ports that nobody may ask for.

use http::{Request, StatusCode};
use tokio::net::TcpListener;

use super::{AppHealth, Config};

async fn asked(health: &AppHealth, method: &str, path: &str) -> Option<StatusCode> {
    let request = Request::builder().method(method).uri(path).body(()).expect("a request");
    health.page(&request.into_parts().0).await.map(|page| page.status())
}

#[tokio::test]
async fn a_live_application_is_well_a_dead_one_is_not_and_other_ports_are_not_dialled() {
    let alive = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let secret = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port_of = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    let (port, secret_port) = (port_of(&alive), port_of(&secret));
    let health = AppHealth::new(Config { ports: vec![port], address: Some([127, 0, 0, 1].into()) });
    let path = format!("/app-health/{port}");
    assert_eq!(asked(&health, "GET", &path).await, Some(StatusCode::OK));
    let (_, source) = alive.accept().await.expect("it was dialled");
    assert_eq!(
        source.ip(),
        std::net::Ipv4Addr::new(127, 0, 0, 6),
        "the redirect lets only this address through to the application"
    );

    for path in [format!("/app-health/{secret_port}"), "/app-health/".to_owned(), "/app-health/http".to_owned()] {
        assert_eq!(asked(&health, "GET", &path).await, Some(StatusCode::NOT_FOUND), "{path}");
    }
    assert_eq!(asked(&health, "GET", "/ready").await, None);
    assert_eq!(asked(&health, "POST", &path).await, None);

    drop(alive);
    assert_eq!(asked(&health, "GET", &path).await, Some(StatusCode::SERVICE_UNAVAILABLE));
}

#[tokio::test]
async fn a_pod_without_an_address_is_not_well() {
    let health = AppHealth::new(Config { ports: vec![1], address: None });
    assert_eq!(asked(&health, "GET", "/app-health/1").await, Some(StatusCode::SERVICE_UNAVAILABLE));
}
