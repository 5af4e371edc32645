//! `lanectl proxy`: what one sidecar has. Asked of itself by its admin port (docs/admin.md says what it answers), or, by
//! its name, of the control plane, which knows what was sent and acknowledged.

use hyper::Method;
use serde_json::Value;

use super::arguments::{Ask, Format, LogLevel, Sidecar};
use super::client::Client;
use super::look::Look;
use super::print::{self, Table, dash};
use super::{Trouble, admin_port, status};
use crate::name;

/// One question, to either.
struct Page {
    path: &'static str,
    /// Types of resources that tell it, where the control plane is asked.
    kinds: &'static [&'static str],
    table: fn(&Value) -> Table,
    /// The list in the answer.
    list: &'static str,
}

const CONFIG: Page = Page { path: "/config_dump", kinds: &[], table: config, list: "resources" };
const ENDPOINTS: Page =
    Page { path: "/endpoints", kinds: &["Service", "Endpoints"], table: endpoints, list: "endpoints" };
const LANES: Page =
    Page { path: "/lanes", kinds: &["LaneGroup", "Lane", "ServicePolicy"], table: lanes, list: "lanes" };

pub(super) async fn proxy(client: &mut Client, ask: Ask, look: Look, out: &mut String) -> Result<(), Trouble> {
    match ask {
        Ask::Config(sidecar) => page(client, &CONFIG, sidecar, look, out).await,
        Ask::Endpoints(sidecar) => page(client, &ENDPOINTS, sidecar, look, out).await,
        Ask::Lanes(sidecar) => page(client, &LANES, sidecar, look, out).await,
        Ask::LogLevel(options) => log_level(&options, look, out).await,
    }
}

async fn page(client: &mut Client, page: &Page, sidecar: Sidecar, look: Look, out: &mut String) -> Result<(), Trouble> {
    if let Some(admin) = sidecar.admin {
        let answer = admin_port::ask(&admin, Method::GET, page.path).await?;
        match look.format {
            Format::Json | Format::Yaml => out.push_str(&print::values(vec![answer], true, look.format)),
            Format::Name => {
                let items = items(&answer, page.list).iter();
                items.for_each(|item| out.push_str(&format!("{}\n", text(&item["name"], &item["address"]))));
            }
            Format::Table | Format::Wide => {
                out.push_str(&(page.table)(&answer).render(look));
                out.push_str(&foot(&answer));
            }
        }
        return Ok(());
    }
    let node = sidecar.node.unwrap_or_default();
    let mut proxy = status::one(client, &node).await?;
    match look.format {
        Format::Table | Format::Wide => out.push_str(&status::resources(&proxy, page.kinds, look)),
        Format::Json | Format::Yaml => {
            proxy.types.retain(|status| is_of(&status.type_url, page.kinds));
            let value = print::message(&proxy, "laneway.status.v1.Proxy");
            out.push_str(&print::values(vec![value], true, look.format));
        }
        Format::Name => {
            let types = proxy.types.iter().filter(|status| is_of(&status.type_url, page.kinds));
            let names = types.flat_map(|status| &status.resources);
            names.for_each(|resource| out.push_str(&format!("{}\n", resource.name)));
        }
    }
    Ok(())
}

fn is_of(type_url: &str, kinds: &[&str]) -> bool {
    kinds.is_empty() || kinds.contains(&type_url.rsplit('.').next().unwrap_or_default())
}

async fn log_level(options: &LogLevel, look: Look, out: &mut String) -> Result<(), Trouble> {
    let answer = match &options.level {
        None => admin_port::ask(&options.admin, Method::GET, "/logging").await?,
        Some(level) => {
            let page = format!("/logging?level={}", admin_port::encoded(level));
            admin_port::ask(&options.admin, Method::POST, &page).await?
        }
    };
    let filter = answer["filter"].as_str().unwrap_or_default().to_owned();
    match look.format {
        Format::Json | Format::Yaml => out.push_str(&print::values(vec![answer], true, look.format)),
        Format::Name => out.push_str(&format!("{filter}\n")),
        Format::Table | Format::Wide => out.push_str(&match answer["before"].as_str() {
            Some(before) => format!("logs {filter} until it ends, was {before}\n"),
            None => format!("logs {filter}\n"),
        }),
    }
    Ok(())
}

fn config(answer: &Value) -> Table {
    let mut table = Table::new(&["TYPE", "RESOURCE", "VERSION"]);
    for item in items(answer, "resources") {
        table.row(vec![shown(&item["type"]), shown(&item["name"]), shown(&item["version"])]);
    }
    table
}

fn endpoints(answer: &Value) -> Table {
    let mut table = Table::new(&["SERVICE", "TAG", "ADDRESS", "PORT", "WEIGHT", "STATE"]);
    for item in items(answer, "endpoints") {
        table.row(vec![
            name::id(&shown(&item["service"])).to_owned(),
            shown(&item["tag"]),
            shown(&item["address"]),
            shown(&item["portName"]),
            shown(&item["weight"]),
            shown(&item["state"]),
        ]);
    }
    table
}

fn lanes(answer: &Value) -> Table {
    let mut table = Table::new(&["LANE", "TAG", "STATE", "PRIORITY", "ENTRY", "RULES", "FALLBACK"]);
    for item in items(answer, "lanes") {
        let entry: Vec<String> =
            items(item, "entryServices").iter().map(|service| name::id(&shown(service)).to_owned()).collect();
        let words = |key: &str| items(item, key).iter().map(shown).collect::<Vec<_>>().join(",");
        let fallback = if item["strict"].as_bool() == Some(true) { "strict".to_owned() } else { words("fallback") };
        table.row(vec![
            name::id(&shown(&item["name"])).to_owned(),
            shown(&item["tag"]),
            shown(&item["state"]).replace('_', " "),
            shown(&item["priority"]),
            dash(&entry.join(",")),
            dash(&words("rules")),
            dash(&fallback),
        ]);
    }
    table
}

/// By which configuration it answered, and whether it told all.
fn foot(answer: &Value) -> String {
    let mut foot = format!("\nconfiguration {} of this sidecar", shown(&answer["revision"]));
    if let Some(state) = answer["state"].as_str() {
        let link = match (answer["source"].as_str(), answer["connected"].as_bool()) {
            (Some("file"), _) => ", from its file",
            (_, Some(true)) => ", connected to the control plane",
            (_, Some(false)) => ", not connected to the control plane",
            (_, None) => "",
        };
        foot.push_str(&format!(": {state}{link}"));
    }
    foot.push('\n');
    if answer["truncated"].as_bool() == Some(true) {
        foot.push_str(&format!("cut: it has {}\n", shown(&answer["total"])));
    }
    foot
}

fn items<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A value in a cell.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => dash(text),
        other => other.to_string(),
    }
}

/// The first of both that is there.
fn text(first: &Value, second: &Value) -> String {
    if first.is_null() { shown(second) } else { shown(first) }
}
