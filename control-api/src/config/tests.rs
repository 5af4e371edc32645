//! What starts, and what is refused by name.

use super::Config;

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
fn a_bad_value_is_named() {
    for (arguments, word) in [
        (vec!["--api-listen", "here"], "--api-listen"),
        (vec!["--log", "a=b=c"], "--log"),
        (vec!["--drain-max", "long"], "--drain-max"),
        (vec!["--drain-max", "100000"], "--drain-max"),
        (vec!["--colour", "red"], "--colour"),
        (vec!["--api-listen", "127.0.0.1:5", "--discovery-listen", "127.0.0.1:5"], "--api-listen"),
    ] {
        let words = refusal(&arguments);
        assert!(words.contains(word), "{arguments:?}: {words}");
    }
}
