//! `lanectl install` and `lanectl upgrade`: the control plane into a cluster. With --dry-run the manifests are printed and nobody is asked
//! but, by upgrade, for the settings of the installation and for what it would delete, which is told on stderr.

use super::Trouble;
use super::arguments::{Install, Upgrade};
use crate::install::{Settings, manifests};

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(feature = "kubernetes")]
mod cluster;

pub(super) async fn install(options: Install, out: &mut String) -> Result<(), Trouble> {
    let text = manifests(&options.place.namespace, &options.settings);
    let unsaid = unsaid(&options.settings);
    if options.place.dry_run {
        eprint!("{unsaid}");
        out.push_str(&text);
        return Ok(());
    }
    out.push_str(&unsaid);
    cluster::install(&text, &options.place, out).await.map_err(said)
}

pub(super) async fn upgrade(options: Upgrade, out: &mut String) -> Result<(), Trouble> {
    let before = cluster::settings(&options.place.namespace).await.map_err(said)?;
    let outdated = options.settings.outdated(&before).join(", ");
    let settings = options.settings.over(before);
    let (text, unsaid) = (manifests(&options.place.namespace, &settings), unsaid(&settings));
    if options.place.dry_run {
        eprint!("{unsaid}");
        // Beside the manifests, which may be on their way to kubectl.
        if !outdated.is_empty() {
            eprintln!("not of version {VERSION}: {outdated}: an upgrade stops there");
        }
        for object in cluster::would_delete(&text, &options.place.namespace).await.map_err(said)? {
            eprintln!("{object} is no longer part of it: an upgrade deletes it");
        }
        out.push_str(&text);
        return Ok(());
    }
    if !outdated.is_empty() {
        return Err(Trouble::Said(format!(
            "lanectl: the manifests are of version {VERSION}, and these images, which would stay, are not: {outdated}. Give those of \
             {VERSION}, or the same ones again; nothing was changed"
        )));
    }
    out.push_str(&unsaid);
    cluster::upgrade(&text, &options.place, out).await.map_err(said)
}

/// A line for whoever named one image of three; empty where nothing is odd.
fn unsaid(settings: &Settings) -> String {
    match settings.unsaid_images().as_slice() {
        [] => String::new(),
        some => format!(
            "sidecars take images of the default names, from no registry of yours: {} says others\n",
            some.join(" ")
        ),
    }
}

fn said(error: anyhow::Error) -> Trouble {
    Trouble::Said(format!("lanectl: {error:#}"))
}

/// A build without a client of the API server.
#[cfg(not(feature = "kubernetes"))]
mod cluster {
    use crate::lanectl::arguments::Installed;

    use super::Settings;

    const WITHOUT: &str =
        "this lanectl was built without the feature kubernetes: give --dry-run, and apply what it prints";

    pub(super) async fn settings(_: &str) -> anyhow::Result<Settings> {
        anyhow::bail!(WITHOUT)
    }

    pub(super) async fn would_delete(_: &str, _: &str) -> anyhow::Result<Vec<String>> {
        anyhow::bail!(WITHOUT)
    }

    pub(super) async fn install(_: &str, _: &Installed, _: &mut String) -> anyhow::Result<()> {
        anyhow::bail!(WITHOUT)
    }

    pub(super) async fn upgrade(_: &str, _: &Installed, _: &mut String) -> anyhow::Result<()> {
        anyhow::bail!(WITHOUT)
    }
}
