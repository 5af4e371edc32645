//! Under which names the ports are dialled: what `--own-ca` says, and what is as good.

use std::net::IpAddr;

/// Names of one certificate: more than any Service has.
const NAMES_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// `NAME.NAMESPACE.svc` stands for the Service by each of its names; any other name, or address, for itself.
pub(super) fn names(said: &[String]) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for name in said {
        if name.parse::<IpAddr>().is_err() && !is_dns_name(name) {
            return Err(format!(
                "`{name}` is no name; allowed: a Service as laneway-control.laneway-system.svc, another DNS name in small \
                 letters, or an IP address"
            ));
        }
        let mut all = vec![name.clone()];
        if let Some((service, namespace)) = name.strip_suffix(".svc").and_then(|rest| rest.split_once('.'))
            && !namespace.contains('.')
        {
            all.extend([format!("{name}.cluster.local"), format!("{service}.{namespace}"), service.to_owned()]);
        }
        for name in all {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if names.len() > NAMES_MAX {
        return Err(format!("{} names, more than {NAMES_MAX}", names.len()));
    }
    Ok(names)
}

fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(is_letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::names;

    fn of(said: &[&str]) -> Result<Vec<String>, String> {
        names(&said.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_service_has_four_names_and_all_else_is_itself() {
        let service = ["control.mesh.svc", "control.mesh.svc.cluster.local", "control.mesh", "control"];
        assert_eq!(of(&["control.mesh.svc"]).expect("a Service"), service);
        let more = of(&["control.mesh.svc", "127.0.0.1", "::1", "lanes.example", "control.mesh"]).expect("good names");
        assert_eq!(more, [&service[..], &["127.0.0.1", "::1", "lanes.example"]].concat());
        assert_eq!(of(&["a.b.c.svc"]).expect("a name"), ["a.b.c.svc"]);
    }

    #[test]
    fn what_nobody_can_dial_is_refused() {
        for name in
            ["", "Control.mesh.svc", "*.mesh.svc", "a..svc", "-a", "a b", "a/b", &"x".repeat(64), "control.mesh.svc."]
        {
            let refusal = of(&[name]).expect_err(name);
            assert!(refusal.contains("allowed"), "{refusal}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("n{n}")).collect();
        assert!(names(&many).expect_err("too many").contains("32"));
    }
}
