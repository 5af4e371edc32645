//! How a sidecar and the control plane that `lanectl install` brings find and know each other. `install` renders it so, and a sidecar
//! is told so unless somebody says otherwise: what both say stands here alone.

use laneway_proto::contract::PORT_DISCOVERY;

/// Where it is unless somebody says otherwise.
pub const NAMESPACE: &str = "laneway-system";
/// Its Service.
pub const SERVICE: &str = "laneway-control";
/// ConfigMap with the authorities of its certificate, in each namespace that has sidecars.
pub const AUTHORITIES: &str = "laneway-ca";
/// Audience of the tokens that sidecars show.
pub const AUDIENCE: &str = "laneway.io";
/// [`url`] of [`NAMESPACE`], as a default needs it.
pub const URL: &str = "https://laneway-control.laneway-system.svc:15410";

/// Where sidecars dial it. Only by TLS.
pub fn url(namespace: &str) -> String {
    format!("https://{SERVICE}.{namespace}.svc:{PORT_DISCOVERY}")
}
