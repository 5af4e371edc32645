use super::*;

#[test]
fn who_has_a_network_of_ipv6_is_one_and_an_address_of_ipv4_is_one_in_either_form() {
    let cases = [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("::1", "::"),
    ];
    for (address, expected) in cases {
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!(origin(address).to_string(), expected, "{address}");
    }
}
