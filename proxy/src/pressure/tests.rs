//! The levels, and where a limit stands.

use super::*;

#[test]
fn it_sheds_before_it_trims_and_eases_only_well_below() {
    let mut before = Level::Easy;
    for (resident, expected) in [
        (89, Level::Easy),
        (90, Level::Shed),
        (94, Level::Shed),
        (95, Level::Trim),
        (94, Level::Shed),
        (86, Level::Shed),
        (84, Level::Easy),
        (89, Level::Easy),
        (120, Level::Trim),
    ] {
        before = level(resident << 20, 100 << 20, before);
        assert_eq!(before, expected, "{resident} of 100 MiB");
    }
}

#[test]
fn the_limit_is_found_in_either_version_of_control_groups() {
    let v2 = |path: &str| Some(("memory.max", path.to_owned()));
    assert_eq!(limit_file("0::/\n"), v2("."));
    assert_eq!(limit_file("0::/kubepods/pod1/c2\n"), v2("kubepods/pod1/c2"));
    let v1 = "5:cpu,cpuacct:/a\n4:memory:/docker/1f\n0::/\n";
    assert_eq!(limit_file(v1), Some(("memory.limit_in_bytes", "memory/docker/1f".to_owned())));
    assert_eq!(limit_file("1:name=systemd:/\n"), None);
}

#[test]
fn this_very_process_is_resident() {
    assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
}
