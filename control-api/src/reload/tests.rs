//! When a change of files is taken, and when it is not.

use super::{Files, read};
use crate::tests::Folder;

/// Good contents are numbers, and their sum is made of them.
fn sum(contents: &[Vec<u8>]) -> Result<u32, String> {
    let numbers = contents.iter().map(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        text.parse::<u32>().map_err(|_| format!("{text:?} is no number"))
    });
    numbers.sum()
}

#[test]
fn a_change_is_taken_when_it_was_seen_alike_twice_and_is_good() {
    let folder = Folder::new();
    folder.write("a", "1");
    folder.write("b", "2");
    let paths = vec![folder.path("a"), folder.path("b")];
    let (mut files, made) = Files::open("the sum", paths.clone(), 10, sum).expect("two numbers");
    assert_eq!(made, 3);
    let mut look = || files.take(read(&paths, 10), sum);
    assert_eq!(look(), None);
    folder.write("a", "10");
    assert_eq!((look(), look(), look()), (None, Some(12), None));
    // Caught between two writes: not taken.
    folder.write("a", "100");
    assert_eq!(look(), None);
    folder.write("b", "200");
    assert_eq!((look(), look()), (None, Some(300)));
    // Bad, too large, gone: the last good one stays, and what is good again is taken.
    folder.write("a", "x");
    assert_eq!((look(), look(), look()), (None, None, None));
    folder.write("a", "12345678901");
    assert_eq!((look(), look()), (None, None));
    std::fs::remove_file(folder.path("a")).expect("it is ours");
    assert_eq!((look(), look()), (None, None));
    folder.write("a", "7");
    assert_eq!((look(), look()), (None, Some(207)));
}

#[test]
fn at_the_start_a_problem_is_an_error_that_names_the_file() {
    let folder = Folder::new();
    folder.write("a", "x");
    let refused = |name: &str| match Files::open("the sum", vec![folder.path(name)], 10, sum) {
        Ok(_) => panic!("it was taken"),
        Err(error) => format!("{error:#}"),
    };
    assert!(refused("a").contains("no number"), "{}", refused("a"));
    assert!(refused("none").contains("none"), "{}", refused("none"));
}
