//! ListRevisions and GetRevision: what was changed, as far back as it is held.

use laneway_proto::admin::{GetRevisionRequest, ListRevisionsRequest, ListRevisionsResponse, Revision, RevisionView};
use prost::Message;
use tonic::Status;

use super::filter::Filter;
use super::page::Query;
use super::{Api, errors, page};

const MESSAGE: &str = "laneway.admin.v1.Revision";
/// Read from the store at a time, so that commits come in between.
const READ_COUNT: usize = 100;
/// Largest page; a client takes no more than 4 MiB unless it was told to.
const PAGE_BYTES_MAX: usize = 3 << 20;

pub(super) async fn list(api: &Api, request: ListRevisionsRequest) -> Result<ListRevisionsResponse, Status> {
    let size = page::size(request.page_size)?;
    let filter = Filter::parse(&request.filter, MESSAGE)?;
    let query = Query { page_token: &request.page_token, filter: &request.filter, ..Query::default() };
    let now = api.reconciler.now();
    let mut before = query.after(MESSAGE, now)?.unwrap_or(i64::MAX);
    let is_full_view = request.view() == RevisionView::Full;
    let (mut revisions, mut bytes) = (Vec::<Revision>::new(), 0);
    loop {
        let read = read(api, before).await?;
        let Some(oldest) = read.last() else {
            return Ok(ListRevisionsResponse { revisions, next_page_token: String::new() });
        };
        before = oldest.revision;
        for mut revision in read.into_iter().filter(|revision| filter.takes(revision)) {
            if !is_full_view {
                for change in &mut revision.changes {
                    (change.before_json, change.after_json) = (String::new(), String::new());
                }
            }
            bytes += revision.encoded_len();
            if let Some(last) = revisions.last().filter(|_| revisions.len() == size || bytes > PAGE_BYTES_MAX) {
                let next_page_token = query.token(MESSAGE, last.revision, now);
                return Ok(ListRevisionsResponse { revisions, next_page_token });
            }
            revisions.push(revision);
        }
    }
}

pub(super) async fn get(api: &Api, request: GetRevisionRequest) -> Result<Revision, Status> {
    held(api, number(&request.name)?).await
}

/// The number in a revision's name.
pub(super) fn number(name: &str) -> Result<i64, Status> {
    let number = name.strip_prefix("revisions/").and_then(|digits| digits.parse().ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| errors::bad_field("name", "is revisions/{revision}, a number from 1"))
}

/// A revision, in full.
pub(super) async fn held(api: &Api, number: i64) -> Result<Revision, Status> {
    if number > api.reconciler.state().revision {
        return Err(errors::missing(&format!("revisions/{number}")));
    }
    // Without a gap: one that is not the next before the one after it is gone.
    let found = api.reconciler.revisions(number.saturating_add(1), 1).await;
    let found = found.map_err(|error| errors::unreadable(&error))?.pop();
    found.filter(|found| found.revision == number).ok_or_else(|| no_longer_held(number))
}

pub(super) fn no_longer_held(number: i64) -> Status {
    errors::no_longer_held(format!("revision {number} is no longer held; `lanectl history` lists those that are"))
}

/// What was committed before a revision, newest first: some of it. Nothing: none before it is held.
pub(super) async fn read(api: &Api, before: i64) -> Result<Vec<Revision>, Status> {
    api.reconciler.revisions(before, READ_COUNT).await.map_err(|error| errors::unreadable(&error))
}
