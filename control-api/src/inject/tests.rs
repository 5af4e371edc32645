//! Whole manifests, against files in tests/inject: one folder for a shape, with what goes in (`in.yaml`, `in.json`; `args`: a flag a
//! line), and the golden files `out.yaml` or `out.json` and `reasons`. `UPDATE_GOLDEN=1 cargo test -p laneway-control-api inject`
//! writes these anew; the diff is then for a person to read.

mod accepted;
mod hostile;
mod refused;
mod undone;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::value::{Map, Value};
use super::{Done, Settings, inject, stream, uninject, workload};

/// One folder of tests/inject.
struct Shape {
    name: String,
    folder: PathBuf,
    /// `yaml` or `json`.
    kind: &'static str,
    text: String,
    settings: Settings,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

pub(crate) fn settings(arguments: &[&str]) -> Settings {
    let line = Line::try_parse_from([&["test"], arguments].concat());
    line.unwrap_or_else(|error| panic!("{arguments:?}: {error}")).settings
}

fn shapes() -> Vec<Shape> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inject");
    let mut shapes = Vec::new();
    for entry in fs::read_dir(&folder).expect("the shapes are in the source tree") {
        let folder = entry.expect("the folder can be read").path();
        let name = folder.file_name().expect("it has a name").to_string_lossy().into_owned();
        let kind = if folder.join("in.json").exists() { "json" } else { "yaml" };
        let text =
            fs::read_to_string(folder.join(format!("in.{kind}"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        let arguments = fs::read_to_string(folder.join("args")).unwrap_or_default();
        let settings = settings(&arguments.lines().collect::<Vec<_>>());
        shapes.push(Shape { name, folder, kind, text, settings });
    }
    shapes.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(shapes.len() >= 20, "{} shapes", shapes.len());
    shapes
}

/// Every pod and template that goes in, with the name of its shape, and how it is to be injected.
pub(crate) fn pods_of_shapes() -> Vec<(String, Settings, Vec<Map>)> {
    let pods = |text: &str| {
        let mut found = Vec::new();
        for mut document in values(text) {
            let Some(object) = document.as_map_mut() else { continue };
            workload::pods(object, &mut |_, pod| found.push(pod.expect("the shape is good").clone()));
        }
        found
    };
    shapes().into_iter().map(|shape| (shape.name, shape.settings, pods(&shape.text))).collect()
}

fn injected(text: &str, settings: &Settings) -> Done {
    inject(text, settings).unwrap_or_else(|problems| panic!("{}\n{text}", problems.join("\n")))
}

/// The values of a text, as they are written.
fn values(text: &str) -> Vec<Value> {
    let parts = stream::read(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    parts.into_iter().filter_map(|part| part.value).collect()
}

fn reasons(done: &Done) -> String {
    done.told.iter().map(|told| format!("{told}\n")).collect()
}

#[test]
fn every_shape_is_injected_as_its_golden_files_say() {
    let mut wrong = Vec::new();
    for shape in shapes() {
        let done = injected(&shape.text, &shape.settings);
        for (file, text) in [(format!("out.{}", shape.kind), done.text.clone()), ("reasons".to_owned(), reasons(&done))]
        {
            let path = shape.folder.join(&file);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, &text).expect("the folder is in the source tree");
            }
            if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
                wrong.push(format!("== {}/{file}\n{text}", shape.name));
            }
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 writes these anew:\n{}", wrong.join("\n"));
}

#[test]
fn twice_is_the_same_as_once() {
    for shape in shapes() {
        let once = injected(&shape.text, &shape.settings);
        let twice = injected(&once.text, &shape.settings);
        assert_eq!(once.text, twice.text, "{}", shape.name);
        assert_eq!(reasons(&once), reasons(&twice), "{}", shape.name);
    }
}

#[test]
fn other_settings_put_in_anew() {
    let (one, other) = (settings(&["--proxy-image=a"]), settings(&["--proxy-image=b", "--native-sidecar=false"]));
    for shape in shapes() {
        let anew = injected(&injected(&shape.text, &one).text, &other).text;
        assert_eq!(values(&anew), values(&injected(&shape.text, &other).text), "{}", shape.name);
    }
}

#[test]
fn what_stands_on_a_workload_in_place_of_its_template_is_told() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n  labels: {app: a, laneway.io/tag: gray}\n  \
                annotations: {alicloud.service.tag: gray, laneway.io/drain-seconds: '7'}\nspec: {template: {metadata: {labels: \
                {app: a}}, spec: {containers: [{name: a}]}}}\n";
    let told = reasons(&injected(text, &settings(&[])));
    for what in ["label laneway.io/tag", "annotation alicloud.service.tag", "annotation laneway.io/drain-seconds"] {
        let words = format!("{what} stands on the Deployment itself");
        assert!(told.contains(&words), "{words}: {told}");
    }
    assert!(told.contains("spec.template.metadata") && told.contains("no tag: baseline"), "{told}");
    // On a pod it stands where it belongs.
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {laneway.io/tag: gray}}\nspec: {containers: [{name: a}]}\n";
    assert!(!reasons(&injected(pod, &settings(&[]))).contains("itself"));
}

#[test]
fn an_object_of_an_unknown_kind_that_makes_pods_is_told_and_stays_byte_for_byte() {
    let text = "apiVersion: apps.kruise.io/v1alpha1\nkind: CloneSet\nmetadata: {name: x}\nspec: {template: {spec: {containers: \
                [{name:   a}]}}}\n";
    let done = injected(text, &settings(&[]));
    assert_eq!(done.text, text);
    assert_eq!(
        reasons(&done),
        "cloneset/x: no sidecar: its kind is not known here; the webhook injects the pods that it makes\n"
    );
    let done = uninject(text).expect("there is nothing to take out");
    assert_eq!((done.text.as_str(), reasons(&done).as_str()), (text, "cloneset/x: had no sidecar of ours\n"));
}

#[test]
fn what_has_no_pods_stays_byte_for_byte() {
    for text in [
        "",
        "\n# only a comment\n",
        "---\n---\n...\n",
        "apiVersion: v1\nkind: Service   # kept\nmetadata: {name: x}\nspec: {ports: [{port: 0x50}]}",
        "apiVersion: apps.kruise.io/v1\nkind: StatefulSet\nspec: nonsense\n---\r\nkind: Deployment # of no group\r\n",
        "{\"kind\": \"ConfigMap\", \"apiVersion\": \"v1\", \"data\": {\"z\": \"1\",   \"a\": \"2\"}}\n{}\n",
        "no: kind\n---\n{flow: [map, of, yaml]}\n",
        "apiVersion: v1\nkind: List\nitems:\n",
    ] {
        let done = injected(text, &settings(&[]));
        assert_eq!((done.text.as_str(), done.told.len()), (text, 0));
    }
}
