//! What runs: where the services and their instances are learned from.
//!
//! A source hands over whole catalogues through a watch channel, each checked; a broken state of the outside is reported
//! and never handed over, so the last good catalogue stays. Sources know nothing of lanes or of the store.

use std::sync::Arc;

use laneway_core::tag::Tag;

pub mod file;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "kubernetes")]
pub mod merge;
pub mod standing;

/// What is known of the service of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodService {
    /// The pods of its namespace are not read: no wait brings it.
    Unread,
    /// There is no such pod, or not yet, or another one has its name.
    Unknown,
    /// The pod is of no service.
    OfNone,
    Of(String),
}

/// What is known of the tag of a pod, as its labels are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodTag {
    Unknown,
    Baseline,
    Of(Tag),
}

/// Asks for the tag of a pod: by namespace, name, and uid if that is known.
pub type TagOf = Arc<dyn Fn(&str, &str, Option<&str>) -> PodTag + Send + Sync>;
