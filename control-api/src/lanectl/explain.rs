//! `lanectl explain`.

use laneway_core::name::id_of;
use laneway_core::why::{source_label, why_label};
use laneway_proto::admin::call::Pair;
use laneway_proto::admin::{Call, ExplainRouteRequest, ExplainRouteResponse};
use laneway_proto::contract::BASELINE;
use laneway_proto::routing::{TagSource, Why};

use super::arguments::{Explain, Format};
use super::client::Client;
use super::documents::Documents;
use super::look::Look;
use super::print::{self, Table};
use super::{Trouble, find};

pub(super) async fn explain(
    client: &mut Client,
    options: Explain,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    let overlay = match options.files.as_slice() {
        [] => None,
        files => Some(Documents::read(files).map_err(Trouble::Said)?.bundle),
    };
    let to = options.to.clone();
    let pair = |(name, value)| Pair { name, value };
    let request = ExplainRouteRequest {
        parent: format!("namespaces/{}", options.namespace),
        source_service: options.from.unwrap_or_default(),
        source_tag: options.from_tag.unwrap_or_default(),
        source_ip: options.from_ip.unwrap_or_default(),
        destination_service: options.to,
        destination_tag: options.to_tag.unwrap_or_default(),
        destination_port: options.port.unwrap_or_default(),
        call: Some(Call {
            method: options.method,
            path: options.path,
            host: options.host.unwrap_or_default(),
            headers: options.headers.into_iter().map(pair).collect(),
            ..Call::default()
        }),
        overlay,
    };
    let response = client.explain(request).await?;
    match look.format {
        Format::Json | Format::Yaml => {
            let value = print::message(&response, "laneway.admin.v1.ExplainRouteResponse");
            out.push_str(&print::values(vec![value], true, look.format));
        }
        Format::Name => {
            let decided = response.steps.iter().filter(|step| step.decided);
            decided.for_each(|step| out.push_str(&format!("{}\n", step.resource)));
        }
        Format::Table | Format::Wide => people(&response, &to, look, out),
    }
    Ok(())
}

/// Each step on a line, then the outcome.
fn people(response: &ExplainRouteResponse, to: &str, look: Look, out: &mut String) {
    let mut table = Table::new(&["", "OBJECT", "FIELD", "SAYS"]);
    for step in &response.steps {
        let mark = if step.decided { "✓" } else { "-" };
        table.row(vec![mark.to_owned(), find::short(&step.resource), step.field.clone(), step.message.clone()]);
    }
    out.push_str(&table.render(look));
    out.push_str(&format!("\n{}\n", outcome(response, id_of(to))));
    if !response.candidate_endpoints.is_empty() {
        out.push_str(&format!("one of {}\n", response.candidate_endpoints.join(", ")));
    }
}

/// `b: Bgray, why hit, tag gray (carried)`
fn outcome(response: &ExplainRouteResponse, to: &str) -> String {
    let tag = match response.tag_source() {
        TagSource::None | TagSource::Unspecified if response.tag.is_empty() => "no tag".to_owned(),
        source => format!("tag {} ({})", response.tag, source_label(source)),
    };
    let place = match response.why() {
        Why::StrictReject | Why::NoEndpoint | Why::AmbiguousReject | Why::Limited => "refused, 503".to_owned(),
        Why::Passthrough => "passed through".to_owned(),
        _ => label(to, &response.endpoint_tag),
    };
    match response.why() {
        // It came in; nothing was routed.
        Why::Unspecified => format!("{to}: {place}, {tag}"),
        why => format!("{to}: {place}, why {}, {tag}", why_label(why)),
    }
}

/// `Bgray`: the instances of one tag of a service.
fn label(service: &str, tag: &str) -> String {
    let mut letters = service.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let tag = if tag == BASELINE { "" } else { tag };
    format!("{first}{}{tag}", letters.as_str())
}
