use super::super::Mark;
use super::*;

fn judged(fates: Vec<(&str, Fate)>) -> Vec<Item> {
    judge(&fates.into_iter().map(|(namespace, fate)| (namespace.to_owned(), fate)).collect::<Vec<_>>())
}

#[test]
fn what_refuses_new_pods_is_told_once_with_what_to_do() {
    let away = "failed calling webhook \"namespace.inject.laneway.io\": context deadline exceeded";
    let security = "violates PodSecurity \"restricted:latest\"";
    let fates = vec![
        ("a", Fate::Refused(away.to_owned())),
        ("b", Fate::Injected),
        ("c", Fate::Refused(away.to_owned())),
        ("d", Fate::Refused(security.to_owned())),
        ("e", Fate::Refused("exceeded quota".to_owned())),
    ];
    let items = judged(fates);
    let told: Vec<(&str, &str)> = items.iter().map(|item| (item.says.as_str(), item.hint.as_str())).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(items.iter().all(|item| item.mark == Mark::NotWell));
    for (says, hint) in [
        ("in a, c: failed calling", "--webhook-port"),
        ("in d: violates", "enforce=privileged"),
        ("in e: exceeded", "or every pod"),
    ] {
        assert!(told.iter().any(|(said, hinted)| said.contains(says) && hinted.contains(hint)), "{says}: {told:?}");
    }
}

#[test]
fn what_could_not_be_tried_is_odd_and_never_well() {
    let items = judged(vec![("a", Fate::Untold("you may not create pods".to_owned())), ("b", Fate::Injected)]);
    assert_eq!(items.iter().map(|item| item.mark).collect::<Vec<_>>(), [Mark::Odd]);
    assert_eq!(items[0].says, "what becomes of a new pod is not known in a: you may not create pods");
    assert_eq!(judged(vec![("a", Fate::Injected)])[0].mark, Mark::Well);
    assert_eq!(judged(vec![("a", Fate::Bare)])[0].mark, Mark::NotWell);
}

#[test]
fn the_pod_is_one_that_is_read_as_it_was_meant() {
    let pod = pod().expect("it is a pod");
    let spec = pod.spec.expect("a spec");
    assert_eq!(spec.containers.len(), 1);
    assert_eq!(spec.security_context.and_then(|context| context.run_as_non_root), Some(true));
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("laneway-check-"));
}
