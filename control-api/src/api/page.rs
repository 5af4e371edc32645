//! Pages of a list, and the tokens that lead from one to the next: nothing is remembered for them. Pure.

use tonic::Status;
use xxhash_rust::xxh3::xxh3_64;

use super::errors;

/// Where the caller does not say.
const PAGE_SIZE: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;

/// One page, and how to ask for the next.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Empty: that was all.
    pub(super) next_token: String,
    pub(super) total: i32,
}

/// Cuts a page out of `items`, which are in order of `name`. `scope` is what the list is of: a token holds for it alone.
pub(super) fn cut<T>(
    items: Vec<T>,
    name: impl Fn(&T) -> &str,
    scope: &str,
    size: i32,
    token: &str,
) -> Result<Page<T>, Status> {
    let size = self::size(size)?;
    let last = last(scope, token)?;
    let total = i32::try_from(items.len()).unwrap_or(i32::MAX);
    let mut rest = items.into_iter().filter(|item| name(item) > last);
    let page: Vec<T> = rest.by_ref().take(size).collect();
    let next_token = match (rest.next(), page.last()) {
        (Some(_), Some(last)) => self::token(scope, name(last)),
        _ => String::new(),
    };
    Ok(Page { items: page, next_token, total })
}

/// How many to a page.
pub(super) fn size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Err(_) => Err(errors::bad_field("page_size", "must not be negative")),
        Ok(0) => Ok(PAGE_SIZE),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
    }
}

/// What the page before ended with. Empty: this is the first.
pub(super) fn last<'a>(scope: &str, token: &'a str) -> Result<&'a str, Status> {
    match token.split_once('.') {
        None if token.is_empty() => Ok(""),
        Some((given, last)) if given == seal(scope) => Ok(last),
        _ => Err(errors::bad_field("page_token", "is not a token of this list")),
    }
}

/// The token for what comes after `last`.
pub(super) fn token(scope: &str, last: &str) -> String {
    format!("{}.{last}", seal(scope))
}

fn seal(scope: &str) -> String {
    format!("{:016x}", xxh3_64(scope.as_bytes()))
}
