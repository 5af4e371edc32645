//! ListAuditEvents: who meant to change what, as far back as it is held.

use laneway_proto::admin::{AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse};
use tonic::Status;

use super::filter::Filter;
use super::page::Query;
use super::{Api, errors, page};
use crate::reconcile::audit::id;

const MESSAGE: &str = "laneway.admin.v1.AuditEvent";
/// Read from the store at a time, so that commits come in between.
const READ_COUNT: usize = 500;

pub(super) async fn list(api: &Api, request: ListAuditEventsRequest) -> Result<ListAuditEventsResponse, Status> {
    let size = page::size(request.page_size)?;
    let filter = Filter::parse(&request.filter, MESSAGE)?;
    let query = Query { page_token: &request.page_token, filter: &request.filter, ..Query::default() };
    let now = api.reconciler.now();
    let mut before: String = query.after(MESSAGE, now)?.unwrap_or_default();
    let mut audit_events = Vec::<AuditEvent>::new();
    loop {
        let read = api.reconciler.audit_events(&before, READ_COUNT).await;
        let read = read.map_err(|error| errors::unreadable(&error))?;
        let Some(oldest) = read.last() else {
            return Ok(ListAuditEventsResponse { audit_events, next_page_token: String::new() });
        };
        id(&oldest.name).clone_into(&mut before);
        for event in read.into_iter().filter(|event| filter.takes(event)) {
            if let Some(last) = audit_events.last().filter(|_| audit_events.len() == size) {
                let next_page_token = query.token(MESSAGE, id(&last.name), now);
                return Ok(ListAuditEventsResponse { audit_events, next_page_token });
            }
            audit_events.push(event);
        }
    }
}
