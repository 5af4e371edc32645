//! Who a pod is for the lanes: its service and its tag, and which of its labels and annotations say so.
//!
//! Both reach the sidecar by the downward API, from the place that was found here. Discovery from the API server looks in the same
//! places.

use laneway_core::name;
use laneway_core::tag::Tag;

use super::note::Note;
use super::value::Map;

/// Of our own.
pub(super) const LABEL_SERVICE: &str = "laneway.io/service";
pub(super) const LABEL_TAG: &str = "laneway.io/tag";
/// What pods of Alibaba's MSE have.
pub(super) const ANNOTATION_SERVICE_COMPAT: &str = "msePilotCreateAppName";
pub(super) const ANNOTATION_TAG_COMPAT: &str = "alicloud.service.tag";

/// Where the pod says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Label(&'static str),
    Annotation(&'static str),
}

/// What a pod says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) service: Option<(Place, String)>,
    pub(super) tag: Option<(Place, String)>,
    /// What a reader should know of it.
    pub(super) notes: Vec<Note>,
}

impl Place {
    /// As the downward API names it.
    pub(super) fn field(self) -> String {
        match self {
            Place::Label(key) => format!("metadata.labels['{key}']"),
            Place::Annotation(key) => format!("metadata.annotations['{key}']"),
        }
    }

    pub(crate) fn words(self) -> String {
        match self {
            Place::Label(key) => format!("label {key}"),
            Place::Annotation(key) => format!("annotation {key}"),
        }
    }

    fn value<'a>(self, labels: Option<&'a Map>, annotations: Option<&'a Map>) -> Option<&'a str> {
        match self {
            Place::Label(key) => labels.and_then(|labels| labels.text(key)),
            Place::Annotation(key) => annotations.and_then(|annotations| annotations.text(key)),
        }
    }
}

/// The first of the places that says something. Each place is asked by `value`.
pub(crate) fn first_said<'a>(places: &[Place], value: impl Fn(Place) -> Option<&'a str>) -> Option<(Place, &'a str)> {
    // Nobody names a service or a lane by nothing.
    places.iter().find_map(|place| value(*place).filter(|value| !value.is_empty()).map(|value| (*place, value)))
}

/// In this order, the first that says something.
pub(crate) const SERVICE_PLACES: [Place; 4] = [
    Place::Label(LABEL_SERVICE),
    Place::Annotation(ANNOTATION_SERVICE_COMPAT),
    Place::Label("app.kubernetes.io/name"),
    Place::Label("app"),
];
pub(crate) const TAG_PLACES: [Place; 2] = [Place::Label(LABEL_TAG), Place::Annotation(ANNOTATION_TAG_COMPAT)];

impl Identity {
    /// What labels and annotations say; each that cannot be meant is told.
    pub(super) fn of(labels: Option<&Map>, annotations: Option<&Map>) -> Result<Identity, Vec<String>> {
        let said = |places: &[Place]| {
            let found = first_said(places, |place| place.value(labels, annotations));
            found.map(|(place, value)| (place, value.to_owned()))
        };
        let (service, tag) = (said(&SERVICE_PLACES), said(&TAG_PLACES));
        let (mut wrong, mut notes) = (Vec::new(), Vec::new());
        match &service {
            Some((place, value)) if !name::is_service_id(value) => wrong.push(format!(
                "{}: `{value}` is no name of a service; allowed: 1 to 253 of A-Z a-z 0-9 . _ : @ - (label {LABEL_SERVICE} says \
                 another one)",
                place.words()
            )),
            Some((place, value)) => notes.push(Note::Fact(format!("service {value} ({})", place.words()))),
            None => notes.push(Note::Oddity(format!(
                "no service, so the sidecar is no entry and stamps nothing; label {LABEL_SERVICE} names one"
            ))),
        }
        match &tag {
            Some((place, value)) => match Tag::parse(value.as_bytes()) {
                Ok(tag) => notes.push(Note::Fact(format!("tag {tag} ({})", place.words()))),
                Err(error) => wrong.push(format!(
                    "{}: `{value}` is no tag: {error}; allowed: 1 to 63 of a-z 0-9 and '-' between, or no label for baseline",
                    place.words()
                )),
            },
            None => notes.push(Note::Fact("no tag: baseline".to_owned())),
        }
        let compat = first_said(&TAG_PLACES[1..], |place| place.value(labels, annotations)).map(|(_, value)| value);
        if let (Some((place, value)), Some(other)) = (&tag, compat)
            && value != other
        {
            let words = place.words();
            notes.push(Note::Oddity(format!("annotation {ANNOTATION_TAG_COMPAT} says {other}, but {words} wins")));
        }
        if wrong.is_empty() { Ok(Identity { service, tag, notes }) } else { Err(wrong) }
    }

    /// Where the tag is read from, also where none is there yet: a label that is given to the template later is seen.
    pub(super) fn tag_place(&self) -> Place {
        self.tag.as_ref().map_or(Place::Label(LABEL_TAG), |(place, _)| *place)
    }
}
