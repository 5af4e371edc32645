//! Files of any bytes in the place of ours: no damage is believed, and what has a right hash but is none of ours ends in an error.
//! Run on drawn inputs by the tests, and for long by `fuzz/`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use laneway_core::snapshot::Identity;
use laneway_proto::contract::TYPE_LANE;
use laneway_proto::xds::Resource;

use super::{HASH_BYTES, Kept, MAGIC, decode, hash_of};

/// The first byte says whether the hash is made right again, so that what is behind it is reached; the others are edits of a
/// good file: three bytes each, where and what.
pub fn check(bytes: &[u8]) {
    let Some((mode, edits)) = bytes.split_first() else { return };
    let identity = Identity { namespace: "shop".to_owned(), service: "b".to_owned(), tag: None };
    let resource = Resource { name: "gray".to_owned(), version: "1".to_owned(), ..Resource::default() };
    let kept = Kept {
        resources: BTreeMap::from([(TYPE_LANE.to_owned(), BTreeMap::from([("gray".to_owned(), resource)]))]),
        keys: [Arc::from("namespaces/shop/services/c")].into(),
        ..Kept::default()
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let good = kept.encode(&identity, now);
    let mut file = good.clone();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(edit[0]) % (file.len() + 1);
        match edit[1] % 3 {
            0 if at < file.len() => file[at] = edit[2],
            1 => file.truncate(at),
            _ => file.insert(at, edit[2]),
        }
    }
    let head = MAGIC.len() + HASH_BYTES;
    let is_signed_again = mode % 2 == 1 && file.len() >= head;
    if is_signed_again {
        let hash = hash_of(&file[head..]).to_le_bytes();
        file[MAGIC.len()..head].copy_from_slice(&hash);
    }
    match decode(&file, &identity, now) {
        Ok(_) => assert!(file == good || is_signed_again, "damage was believed: {file:?}"),
        Err(error) => assert!(file != good, "a good file is refused: {error}"),
    }
    // Without a good file to begin from.
    let _ = decode(edits, &identity, now);
}
