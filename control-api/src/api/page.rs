//! Pages of a list, and the tokens that lead from one to the next: nothing is remembered for them. Pure.
//!
//! A token says where the page before ended, in the list's own order. What is there all the time is therefore listed once;
//! what comes, goes or moves in between may be listed or not, and each page names the revision that it was read from.

use std::time::SystemTime;

use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tonic::Status;
use xxhash_rust::xxh3::xxh3_64;

use super::errors;
use super::field;
use super::filter::Filter;
use super::order::{Order, Place};

#[cfg(test)]
mod tests;

/// Where the caller does not say.
const PAGE_SIZE: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;
/// How long a token is good.
const TOKEN_SECONDS: u64 = 600;

/// What a list is asked for.
#[derive(Clone, Copy, Default)]
pub(super) struct Query<'a> {
    pub(super) parent: &'a str,
    pub(super) page_size: i32,
    pub(super) page_token: &'a str,
    pub(super) filter: &'a str,
    pub(super) order_by: &'a str,
}

/// One page, and how to ask for the next.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Empty: that was all.
    pub(super) next_token: String,
    /// Of all pages: what the filter takes.
    pub(super) total: i32,
}

/// What a token says. Held by the client, who may not read it: opaque, and sealed against mistakes.
#[derive(Serialize, Deserialize)]
struct Token<P> {
    /// Hash of the list and of what was asked for.
    query: u64,
    /// Seconds since 1970.
    issued: u64,
    after: P,
}

impl Query<'_> {
    /// A page of `items`, which are messages of the full name `message`.
    pub(super) fn page<T: Message>(
        &self,
        items: Vec<T>,
        message: &str,
        name: impl Fn(&T) -> &str,
        now: SystemTime,
    ) -> Result<Page<T>, Status> {
        let size = self::size(self.page_size)?;
        let filter = Filter::parse(self.filter, message)?;
        let descriptor = field::message(message);
        let order = Order::parse(self.order_by, &descriptor)?;
        let after: Option<Place> = self.after(message, now)?;
        let is_plain = filter.takes_all() && order.is_by_name();
        let placed = items.into_iter().filter_map(|item| {
            let dynamic = (!is_plain).then(|| field::dynamic(&descriptor, &item));
            let is_taken = dynamic.as_ref().is_none_or(|dynamic| filter.takes_dynamic(dynamic));
            is_taken.then(|| (order.place(dynamic.as_ref(), name(&item)), item))
        });
        let mut placed: Vec<(Place, T)> = placed.collect();
        placed.sort_by(|(left, _), (right, _)| order.compare(left, right));
        let total = i32::try_from(placed.len()).unwrap_or(i32::MAX);
        let is_before = |place: &Place| after.as_ref().is_some_and(|after| order.compare(place, after).is_le());
        let start = placed.partition_point(|(place, _)| is_before(place));
        let mut page: Vec<(Place, T)> = placed.drain(start..).take(size + 1).collect();
        let has_more = page.len() > size;
        page.truncate(size);
        let next_token = match page.last() {
            Some((last, _)) if has_more => self.token(message, last, now),
            _ => String::new(),
        };
        Ok(Page { items: page.into_iter().map(|(_, item)| item).collect(), next_token, total })
    }

    /// What the page before ended with. None: this is the first.
    pub(super) fn after<P: DeserializeOwned>(&self, list: &str, now: SystemTime) -> Result<Option<P>, Status> {
        if self.page_token.is_empty() {
            return Ok(None);
        }
        let foreign =
            || errors::bad_field("page_token", "is not a token of this list: parent, filter and order stay the same");
        let token: Token<P> = unsealed(self.page_token).ok_or_else(foreign)?;
        if token.query != self.hash(list) {
            return Err(foreign());
        }
        if seconds(now).saturating_sub(token.issued) > TOKEN_SECONDS {
            return Err(errors::bad_field("page_token", "is older than 10 minutes; begin with the first page"));
        }
        Ok(Some(token.after))
    }

    /// The token for what comes after.
    pub(super) fn token<P: Serialize>(&self, list: &str, after: P, now: SystemTime) -> String {
        let token = Token { query: self.hash(list), issued: seconds(now), after };
        sealed(&serde_json::to_vec(&token).expect("a token is text and numbers"))
    }

    fn hash(&self, list: &str) -> u64 {
        xxh3_64([list, self.parent, self.filter, self.order_by].join("\0").as_bytes())
    }
}

/// How many to a page.
pub(super) fn size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Err(_) => Err(errors::bad_field("page_size", "must not be negative")),
        Ok(0) => Ok(PAGE_SIZE),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Hexadecimal, its hash in front.
fn sealed(bytes: &[u8]) -> String {
    let hash = xxh3_64(bytes).to_be_bytes();
    hash.iter().chain(bytes).map(|byte| format!("{byte:02x}")).collect()
}

fn unsealed<T: DeserializeOwned>(token: &str) -> Option<T> {
    let digits = token.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = digits.collect::<Option<_>>()?;
    let (hash, bytes) = bytes.split_first_chunk::<8>()?;
    (u64::from_be_bytes(*hash) == xxh3_64(bytes)).then(|| serde_json::from_slice(bytes).ok())?
}
