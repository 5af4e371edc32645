//! The Helm chart: the same files, with Helm's values in their blanks.

use super::{CRDS, MONITORS, PARTS, blanks, fixed};

/// The files of deploy/helm that are made from the others.
pub struct Chart {
    /// Helm installs these first, and never takes them away.
    pub crds: String,
    pub template: String,
}

/// As `namespace` judges: a webhook with sidecars in a namespace of others could keep itself from starting.
const OWN: &str = "{{- if or (eq .Release.Namespace \"default\") (hasPrefix \"kube-\" .Release.Namespace) }}
{{- fail (printf \"`%s` is not the control plane's own; allowed: a namespace for it alone\" .Release.Namespace) }}
{{- end }}
";

/// The namespace is the release's: Helm makes it, so the chart has none.
pub fn chart() -> Chart {
    let mut template = OWN.to_owned() + &PARTS.map(fill).join("---\n");
    template.push_str("{{- if .Values.podMonitor }}\n---\n");
    template.push_str(&fill(MONITORS));
    template.push_str("{{- end }}\n");
    Chart { crds: CRDS.to_owned(), template }
}

fn fill(part: &str) -> String {
    let namespace = "{{ .Release.Namespace }}";
    let fixed: Vec<String> =
        fixed(namespace).iter().map(|(name, value)| format!("- \"--inject={name}={value}\"")).collect();
    let chosen = "{{- range $name, $value := .Values.inject }}\n        - {{ printf \"--inject=%s=%v\" $name $value | quote }}\n        {{- end }}";
    blanks(part, |name| match name {
        "namespace" => Some(namespace.to_owned()),
        "image" => Some("{{ .Values.image }}".to_owned()),
        "replicas" => Some("{{ .Values.replicas }}".to_owned()),
        "failure_policy" => Some("{{ .Values.failurePolicy }}".to_owned()),
        "pull_secrets" => Some("{{ toJson .Values.imagePullSecrets }}".to_owned()),
        "memory_limit" => Some("{{ .Values.memoryLimit }}".to_owned()),
        "webhook_port" => Some("{{ .Values.webhookPort }}".to_owned()),
        "injection" => Some(format!("{}\n        {chosen}", fixed.join("\n        "))),
        _ => None,
    })
}
