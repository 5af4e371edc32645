//! The kinds of objects of a cluster that are read.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pods,
    Services,
    Slices,
}

impl Kind {
    /// As people and metrics name it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Kind::Pods => "pods",
            Kind::Services => "services",
            Kind::Slices => "endpointslices",
        }
    }
}
