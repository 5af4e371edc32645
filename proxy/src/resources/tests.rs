//! A file that is followed: changed, broken, mended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use laneway_core::snapshot::{Destination, Identity};
use tokio::time::{Instant, sleep};

use super::{first, follow, load};
use crate::current::{self, Reader};
use crate::journal::Outlets;
use crate::status::Status;
use crate::telemetry::{Config, Telemetry};

const DEADLINE: Duration = Duration::from_secs(20);

fn service(name: &str) -> String {
    format!(
        "kind: Service\nname: {name}\nhosts: [{name}.test]\nports: [{{port: 80, name: http, protocol: detect}}]\n\
         endpoints: [{{address: '127.0.0.1:9000', portName: http}}]\n"
    )
}

struct File(PathBuf);

impl File {
    fn new(name: &str) -> File {
        File(std::env::temp_dir().join(format!("laneway-resources-{}-{name}.yaml", std::process::id())))
    }

    fn write(&self, text: &str) {
        // Replaced as a whole, as people should do it.
        let next = self.0.with_extension("next");
        std::fs::write(&next, text).expect("written");
        std::fs::rename(&next, &self.0).expect("replaced");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn knows(reader: &Reader, authority: &str) -> bool {
    !matches!(reader.load().destination(None, Some(authority), None), Destination::Unknown)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_changed_file_is_taken_and_a_bad_one_keeps_the_last_good() {
    let file = File::new("follow");
    file.write(&service("b"));
    let identity = Identity { namespace: "default".to_owned(), ..Identity::default() };
    let loaded = load(&file.0).expect("good");
    let (snapshot, first) = first(loaded, &identity, &file.0).expect("good");
    let (publisher, readers) = current::channel(1, snapshot);
    let reader = readers[0].clone();
    let status = Status::new(Telemetry::new(1, Config::FOR_TESTS), "file", publisher.view(), Outlets::default());
    let following = follow(file.0.clone(), identity, first, publisher, status.clone());
    let local = tokio::task::LocalSet::new();
    local.spawn_local(following);
    local.spawn_local({
        let mut reader = readers[0].clone();
        async move {
            loop {
                reader.changed().await;
                reader.seen(reader.load().revision);
            }
        }
    });
    local
        .run_until(async {
            assert!(knows(&reader, "b.test") && !knows(&reader, "c.test"));
            file.write(&format!("{}---\n{}", service("b"), service("c")));
            until("the added service", || knows(&reader, "c.test")).await;

            let refusals = status.refusals();
            file.write("kind: Service\nname: d\ncolour: gray\n");
            until("the refusal", || status.refusals() > refusals).await;
            assert!(knows(&reader, "c.test"), "the last good resources stay");

            std::fs::remove_file(&file.0).expect("removed");
            until("the second refusal", || status.refusals() > refusals + 1).await;
            assert!(knows(&reader, "c.test"), "the last good resources stay");

            file.write(&service("d"));
            until("the mended file", || knows(&reader, "d.test")).await;
            assert!(!knows(&reader, "c.test"));
        })
        .await;
}

#[test]
fn a_bad_first_file_is_refused_by_the_name_of_the_field() {
    let refusal = |text: &str| {
        let file = File::new("refused");
        file.write(text);
        load(&file.0).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let proxy = "kind: Proxy\nservice: a\n";
    for (text, named) in [
        ("kind: Service\nname: b\ncolour: gray\n".to_owned(), "colour"),
        ("kind: Teapot\nname: b\n".to_owned(), "kind"),
        ("kind: Lane\nname: gray\ntag: a_b\n".to_owned(), "tag"),
        (format!("{proxy}---\n{proxy}"), "Proxy"),
    ] {
        let message = refusal(&text);
        assert!(message.contains(named), "{text:?}: {message:?}");
    }
    assert!(load(Path::new("/nowhere/laneway.yaml")).is_err_and(|error| error.to_string().contains("/nowhere")));
}
