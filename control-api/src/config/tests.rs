//! What starts, and what is refused by name.

use super::{Advertised, Config, StorePlace};

fn refusal(arguments: &[&str]) -> String {
    match Config::of(arguments) {
        Ok(config) => panic!("it was taken: {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn loopback_is_the_default_and_the_rest_has_to_be_asked_for() {
    let config = Config::of(&[]).expect("nothing has to be said");
    assert!(config.discovery_listen.ip().is_loopback() && config.api_listen.ip().is_loopback());
    assert_eq!((config.discovery_listen.port(), config.api_listen.port()), (15410, 15411));
    for flag in ["--discovery-listen", "--api-listen"] {
        let words = refusal(&[flag, "0.0.0.0:1"]);
        assert!(words.contains(flag) && words.contains("--insecure-listen"), "{words}");
    }
    assert!(Config::of(&["--api-listen", "[::1]:1"]).is_ok());
    assert!(Config::of(&["--api-listen", "0.0.0.0:1", "--insecure-listen"]).is_ok());
}

#[test]
fn beyond_loopback_both_tls_and_an_access_file_are_needed() {
    let tls = ["--tls-cert", "c.pem", "--tls-key", "k.pem"];
    let access = ["--access-file", "access.yaml"];
    let on = |rest: &[&'static str]| [&["--api-listen", "0.0.0.0:1"], rest].concat();
    for (arguments, word) in
        [(on(&[]), "--tls-cert, --tls-key and --access-file"), (on(&tls), "--access-file"), (on(&access), "--tls-cert")]
    {
        assert!(refusal(&arguments).contains(word), "{arguments:?}: {}", refusal(&arguments));
    }
    let all = [&tls[..], &access, &["--tls-client-ca", "ca.pem", "--require-client-cert", "discovery"]].concat();
    let config = Config::of(&on(&all)).expect("everything is there");
    let tls = config.tls.expect("it is given");
    assert!(tls.required.discovery && !tls.required.api && tls.client_ca.is_some());
}

#[test]
fn a_bad_value_is_named() {
    for (arguments, word) in [
        (vec!["--api-listen", "here"], "--api-listen"),
        (vec!["--log", "a=b=c"], "--log"),
        (vec!["--drain-max", "long"], "--drain-max"),
        (vec!["--drain-max", "100000"], "--drain-max"),
        (vec!["--drain-min", "5"], "--drain-min"),
        (vec!["--drain-min", "9", "--drain-max", "8"], "--drain-max 8"),
        (vec!["--colour", "red"], "--colour"),
        (vec!["--tls-cert", "c.pem"], "--tls-key"),
        (vec!["--tls-key", "k.pem"], "--tls-cert"),
        // Without it whoever has a certificate would be nobody, or everybody.
        (vec!["--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "ca"], "--access-file"),
        (vec!["--require-client-cert", "api"], "--tls-client-ca"),
        (vec!["--require-client-cert", "both"], "--require-client-cert"),
        (vec!["--writes-per-second", "0"], "--writes-per-second"),
        (vec!["--api-listen", "127.0.0.1:5", "--discovery-listen", "127.0.0.1:5"], "--api-listen"),
        (vec!["--store", ""], "--store"),
        (vec!["--store", "redis://127.0.0.1:1"], "redis"),
        (vec!["--store", "etcd://"], "HOST:PORT"),
        (vec!["--store", "etcd://127.0.0.1"], "HOST:PORT"),
        (vec!["--store", "etcd://127.0.0.1:2379,"], "HOST:PORT"),
        (vec!["--store", "etcd://127.0.0.1:0/x"], "HOST:PORT"),
        (vec!["--store", "etcd://me:secret@127.0.0.1:2379"], "--store-user-file"),
        (vec!["--store", "etcds://127.0.0.1:2379"], "--store-ca"),
        (vec!["--store", "etcd://127.0.0.1:2379", "--store-ca", "ca.pem"], "etcds://"),
        (vec!["--store", "etcds://h:1", "--store-ca", "ca.pem", "--store-cert", "c.pem"], "--store-key"),
        (vec!["--store", "etcd://etcd-1:2379", "--store-user-file", "user"], "in clear"),
        (vec!["--store", "lanes.db", "--store-user-file", "user"], "--store is a file"),
        (vec!["--store", "etcd://127.0.0.1:2379/a b"], "prefix"),
        (vec!["--store", "kubernetes", "--store-user-file", "user"], "etcds://"),
        (vec!["--store", "kubernetes", "--api-listen", "0.0.0.0:1", "--insecure-listen"], "--api-advertise"),
        (vec!["--api-advertise", "10.0.0.1:15411"], "--api-advertise"),
        (vec!["--api-advertise", "https://"], "--api-advertise"),
        (vec!["--api-advertise", "https://fd00::1:15411"], "brackets"),
        (vec!["--api-advertise", "fd00::1:zone"], "--api-advertise"),
        (vec!["--webhook-listen", "127.0.0.1:1"], "--tls-cert"),
        (vec!["--inject", "log-level=debug"], "--webhook-listen"),
        (vec!["--own-ca", "control.mesh.svc", "--tls-cert", "c", "--tls-key", "k"], "--tls-cert"),
        (vec!["--own-ca", "https://control.mesh"], "--own-ca"),
        (vec!["--store", "etcd://h:1", "--api-listen", "0.0.0.0:1", "--insecure-listen"], "--api-advertise"),
    ] {
        let words = refusal(&arguments);
        assert!(words.contains(word), "{arguments:?}: {words}");
    }
}

#[test]
fn the_webhook_takes_every_flag_of_lanectl_inject() {
    let with = |settings: &[&str]| {
        let port = ["--webhook-listen", "127.0.0.1:9", "--tls-cert", "c", "--tls-key", "k"];
        let settings = settings.iter().flat_map(|setting| ["--inject", setting]);
        Config::of(&port.into_iter().chain(settings).collect::<Vec<_>>())
    };
    let default = with(&[]).expect("all that it takes").webhook.expect("it is given").settings;
    assert_eq!((default.drain_seconds, default.native_sidecar), (5, true));
    let some = with(&["drain-seconds=7", "native-sidecar=false", "control=https://c:1", "control-ca=ours"]);
    let some = some.expect("good settings").webhook.expect("it is given").settings;
    assert_eq!((some.drain_seconds, some.native_sidecar, some.control.as_str()), (7, false, "https://c:1"));
    // Several in one, as in the environment.
    let both = with(&["log-level=info,h2=debug;exclude-inbound-ports=1,3-4"]).expect("good settings");
    let both = both.webhook.expect("it is given").settings;
    assert_eq!((both.log_level.as_str(), both.exclude_inbound_ports.to_string().as_str()), ("info,h2=debug", "1,3-4"));
    for (setting, word) in [
        ("colour=red", "drain-seconds"),
        ("help=1", "is no setting"),
        ("drain-seconds", "NAME=VALUE"),
        ("drain-seconds=long", "0 to 3600"),
        ("control=https://c:1", "--control-ca"),
        ("control=nowhere", "is no URL"),
    ] {
        let refusal = with(&[setting]).expect_err("it cannot be meant").to_string();
        assert!(refusal.contains(word) && refusal.contains("--inject"), "{setting}: {refusal}");
    }
    let clash = ["--webhook-listen", "127.0.0.1:9", "--api-listen", "127.0.0.1:9", "--tls-cert", "c", "--tls-key", "k"];
    assert!(refusal(&clash).contains("--webhook-listen"));
}

#[test]
fn an_authority_of_our_own_stands_for_certificate_and_key() {
    let own = ["--own-ca", "control.mesh.svc,127.0.0.1", "--kubernetes-namespace", "mesh"];
    let more = ["--webhook-listen", "0.0.0.0:15443", "--api-listen", "0.0.0.0:1", "--access-file", "access.yaml"];
    let config = Config::of(&[&own[..], &more].concat()).expect("all that it takes");
    assert!(config.has_tls() && config.tls.is_none() && config.webhook.is_some());
    assert_eq!(config.kubernetes_namespace, "mesh");
    let own = config.own_ca.expect("it is given");
    let names = ["control.mesh.svc", "control.mesh.svc.cluster.local", "control.mesh", "control", "127.0.0.1"];
    assert_eq!((own.names.as_slice(), own.webhook_config.as_str()), (&names.map(str::to_owned)[..], "laneway-inject"));
}

#[test]
fn a_store_is_a_file_or_a_part_of_etcd() {
    let store = |text: &str| Config::of(&["--store", text]).expect("a good store").store;
    assert_eq!(store("etcd.db"), StorePlace::Sqlite("etcd.db".into()));
    let etcd = |endpoints: &[&str], prefix: &str| StorePlace::Etcd {
        endpoints: endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(),
        prefix: prefix.to_owned(),
        is_tls: false,
    };
    assert_eq!(store("etcd://127.0.0.1:2379"), etcd(&["127.0.0.1:2379"], "/laneway"));
    assert_eq!(store("etcd://a:1,[::1]:2,c:3/shop/lanes/"), etcd(&["a:1", "[::1]:2", "c:3"], "/shop/lanes"));
    let secured = ["--store", "etcds://a:1/shop", "--store-ca", "ca.pem", "--store-user-file", "user"];
    let secured = Config::of(&secured).expect("all that it takes");
    assert_eq!(
        secured.store,
        StorePlace::Etcd { endpoints: vec!["a:1".to_owned()], prefix: "/shop".to_owned(), is_tls: true }
    );
    assert_eq!(secured.store_credentials.ca.as_deref(), Some(std::path::Path::new("ca.pem")));
}

/// In a cluster a pod is told its address alone, of whichever family.
#[test]
fn what_is_advertised_is_a_url_or_an_address_of_either_family() {
    let everywhere = ["--store", "etcd://h:1", "--api-listen", "0.0.0.0:1", "--insecure-listen", "--api-advertise"];
    for (said, url) in [
        ("10.0.0.1", "https://10.0.0.1:15411"),
        ("fd00::1", "https://[fd00::1]:15411"),
        ("http://10.0.0.1:1", "http://10.0.0.1:1"),
        ("https://[fd00::1]:1", "https://[fd00::1]:1"),
        ("https://lanes.example", "https://lanes.example"),
    ] {
        let config = Config::of(&[everywhere.as_slice(), &[said]].concat()).expect(said);
        let advertised: Advertised = config.api_advertise.expect("it is said");
        assert_eq!(advertised.url("https", 15411), url, "{said}");
    }
}

#[test]
fn the_cluster_is_asked_for_by_its_name_and_stands_beside_files() {
    let paths = |config: &Config| config.discovery.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    let config =
        Config::of(&["--discovery", "kubernetes,a.yaml", "--discovery", "./kubernetes"]).expect("both are good");
    assert_eq!(
        (paths(&config), config.discovery_cluster),
        (vec!["a.yaml".into(), "./kubernetes".into()], Some(vec![]))
    );
    assert_eq!(Config::of(&["--discovery", "a.yaml"]).expect("it is good").discovery_cluster, None);
    let some = ["--discovery", "kubernetes", "--discovery-namespaces", "shop,cart,shop"];
    let named = Some(vec!["cart".to_owned(), "shop".to_owned()]);
    assert_eq!(Config::of(&some).expect("they are good").discovery_cluster, named);
    assert!(refusal(&["--discovery-namespaces", "shop"]).contains("--discovery kubernetes"));
    assert!(refusal(&["--discovery", "kubernetes", "--discovery-namespaces", "Shop"]).contains("\"Shop\""));
    let many = (0..65).map(|number| format!("n{number}")).collect::<Vec<_>>().join(",");
    assert!(refusal(&["--discovery", "kubernetes", "--discovery-namespaces", &many]).contains("more than 64"));
}

#[test]
fn a_cluster_is_asked_who_somebody_is_in_place_of_a_file_or_beside_it() {
    let tls = ["--tls-cert", "c.pem", "--tls-key", "k.pem", "--api-listen", "0.0.0.0:1"];
    let config = Config::of(&[&tls[..], &["--access", "kubernetes"]].concat()).expect("somebody is asked");
    assert_eq!((config.access_cluster.as_deref(), config.access_file), (Some("laneway.io"), None));
    let both = ["--access", "kubernetes", "--token-audience", "lanes", "--access-file", "access.yaml"];
    let config = Config::of(&both).expect("both may be given");
    assert_eq!((config.access_cluster.as_deref(), config.access_file.is_some()), (Some("lanes"), true));
    assert_eq!(Config::of(&[]).expect("it is good").access_cluster, None);
    assert!(refusal(&["--access", "ldap"]).contains("kubernetes"));
    assert!(refusal(&["--access", "kubernetes", "--token-audience", ""]).contains("--token-audience"));
}
