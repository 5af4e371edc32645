//! Values from the specification and its enemies.

use proptest::prelude::*;

use super::{SpanIds, TraceContext};

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn read(value: &str) -> Option<TraceContext> {
    TraceContext::read(value.as_bytes())
}

#[test]
fn a_traceparent_is_read_as_the_specification_says() {
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
    let expected = TraceContext { trace, parent: 0xb7ad_6b71_6920_3331, flags: 1 };
    assert_eq!(read(GOOD), Some(expected));
    assert_eq!(read(&format!(" {GOOD}\t")), Some(expected));
    let later = GOOD.replacen("00", "cc", 1);
    assert_eq!(read(&later), Some(expected), "a later version keeps its first fields");
    assert_eq!(read(&format!("{later}-what-the-future-is")), Some(expected));
    assert!(!read(&GOOD.replace("-01", "-00")).expect("good").is_sampled());
    assert!(read(&GOOD.replace("-01", "-03")).expect("good").is_sampled());
}

#[test]
fn what_is_invalid_is_as_if_it_were_not_there() {
    for bad in [
        "",
        "00",
        &GOOD.replacen("00", "ff", 1),
        &GOOD.replacen("00", "0g", 1),
        &GOOD.to_uppercase(),
        &format!("{GOOD}-more"),
        &format!("{}x", GOOD.replacen("00", "cc", 1)),
        &format!("{}-{}", GOOD.replacen("00", "cc", 1), "x".repeat(300)),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn a_child_stays_in_the_trace_and_names_its_parent() {
    let context = read(GOOD).expect("good");
    let child = context.child(7);
    assert_eq!((child.trace, child.parent, child.span), (context.trace, Some(context.parent), 7));
    assert_eq!(&child.traceparent(), b"00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01");
    let odd = read(&GOOD.replace("-01", "-ff")).expect("good").child(7);
    assert_eq!(&odd.traceparent()[53..], b"03", "flags that nobody knows are not sent on (section 3.2.2.5)");
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(trace in 1_u128.., span in 1_u64..) {
        let written = SpanIds::root(trace, span).traceparent();
        let context = TraceContext::read(&written).expect("ours");
        prop_assert_eq!(context, TraceContext { trace, parent: span, flags: 1 });
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
        let _ = TraceContext::read(&bytes);
    }
}
