//! The admin port of one sidecar, simulated: it answers in the shapes that docs/admin.md lays down.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const LANE: &str = "namespaces/default/laneGroups/shop/lanes/gray";

/// Its URL. It ends with the runtime.
pub(super) async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut filter = "info".to_owned();
        while let Ok((stream, _)) = listener.accept().await {
            // A client that goes away is its own trouble.
            let _ = serve(stream, &mut filter).await;
        }
    });
    format!("http://{address}")
}

async fn serve(stream: TcpStream, filter: &mut String) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? <= 2 {
            break;
        }
    }
    let words: Vec<&str> = first.split_whitespace().collect();
    let (status, answer) = match words.as_slice() {
        ["GET", "/config_dump", _] => (200, config()),
        ["GET", "/lanes", _] => (200, lanes()),
        ["GET", "/endpoints", _] => (200, endpoints()),
        ["GET", "/logging", _] => (200, json!({"filter": filter})),
        ["POST", target, _] if target.starts_with("/logging?level=") => {
            let level = target.trim_start_matches("/logging?level=").to_owned();
            let before = std::mem::replace(filter, level);
            (200, json!({"filter": filter, "before": before}))
        }
        _ => (404, json!({"error": "no such page"})),
    };
    let body = answer.to_string();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
    stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await?;
    stream.flush().await
}

fn config() -> Value {
    json!({
        "state": "ready", "source": "control", "connected": true, "revision": 7, "ageSeconds": 12, "refusals": 0,
        "identity": {"namespace": "default", "service": "a", "tag": "baseline", "podName": "a-1"},
        "total": 2, "truncated": false,
        "resources": [
            {"type": "LaneGroup", "name": "namespaces/default/laneGroups/shop", "version": "0b7c35dbbc1de2f5"},
            {"type": "Lane", "name": LANE, "version": "8c1f3f0a6d0a4e11"},
        ],
    })
}

fn lanes() -> Value {
    json!({
        "revision": 7, "group": "namespaces/default/laneGroups/shop", "tagHeader": "x-mse-tag", "stamps": null,
        "total": 1, "truncated": false,
        "lanes": [{
            "name": LANE, "tag": "gray", "state": "enabled", "priority": 0,
            "entryServices": ["namespaces/default/services/a"], "redirect": false, "rules": ["users"],
            "strict": false, "fallback": ["baseline"], "serviceFallbacks": [],
        }],
    })
}

fn endpoints() -> Value {
    let one = |service: &str, address: &str, tag: &str, state: &str| {
        json!({
            "service": format!("namespaces/default/services/{service}"), "address": address, "portName": "http",
            "tag": tag, "weight": 1, "state": state, "usable": state == "ready",
        })
    };
    json!({
        "revision": 7, "total": 3, "truncated": false,
        "endpoints": [
            one("b", "10.1.1.1:8080", "baseline", "ready"),
            one("b", "10.1.1.2:8080", "gray", "unhealthy"),
            one("c", "10.1.2.1:8080", "baseline", "ready"),
        ],
    })
}
