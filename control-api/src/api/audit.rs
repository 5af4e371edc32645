//! ListAuditEvents: who meant to change what, as far back as it is held.

use laneway_proto::admin::{AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse};
use tonic::Status;

use super::filter::{Filter, Filtered, Kind, Value};
use super::{Api, errors, filter, page};
use crate::reconcile::audit::id;

/// Read from the store at a time, so that commits come in between.
const READ_COUNT: usize = 500;

impl Filtered for AuditEvent {
    const FIELDS: &'static [(&'static str, Kind)] = &[
        ("principal", Kind::Text),
        ("method", Kind::Text),
        ("resource", Kind::Text),
        ("status_code", Kind::Number),
        ("event_time", Kind::Time),
    ];

    fn values(&self, field: &str) -> Vec<Value<'_>> {
        match field {
            "principal" => vec![Value::Text(&self.principal)],
            "method" => vec![Value::Text(&self.method)],
            "resource" => vec![Value::Text(&self.resource)],
            "status_code" => vec![Value::Number(self.status_code.into())],
            "event_time" => filter::time(self.event_time),
            _ => Vec::new(),
        }
    }
}

pub(super) async fn list(api: &Api, request: ListAuditEventsRequest) -> Result<ListAuditEventsResponse, Status> {
    let size = page::size(request.page_size)?;
    let filter = Filter::parse::<AuditEvent>(&request.filter)?;
    let scope = format!("auditEvents?{}", request.filter);
    let mut before = page::last(&scope, &request.page_token)?.to_owned();
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
                let next_page_token = page::token(&scope, id(&last.name));
                return Ok(ListAuditEventsResponse { audit_events, next_page_token });
            }
            audit_events.push(event);
        }
    }
}
