//! `lanectl inject` and `lanectl uninject`: manifests in, manifests with or without sidecars out, and on stderr what was done to
//! each pod. Needs no control plane. All or nothing: where one pod is refused nothing is printed, so that no half of it is applied.

use super::Trouble;
use super::arguments::{Inject, Uninject};
use super::documents::{File, texts};
use crate::inject::{self, Done};

pub(super) fn inject(options: &Inject, out: &mut String) -> Result<(), Trouble> {
    options.settings.plan().map_err(Trouble::Usage)?;
    each(&texts(&options.files).map_err(Trouble::Said)?, out, |text| inject::inject(text, &options.settings))?;
    if let Some(oddity) = options.settings.oddity() {
        eprintln!("{oddity}");
    }
    Ok(())
}

pub(super) fn uninject(options: &Uninject, out: &mut String) -> Result<(), Trouble> {
    each(&texts(&options.files).map_err(Trouble::Said)?, out, inject::uninject)
}

fn each(files: &[File], out: &mut String, work: impl Fn(&str) -> Result<Done, Vec<String>>) -> Result<(), Trouble> {
    let (mut written, mut told, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        match work(&file.text) {
            Ok(done) => {
                written.push(done.text);
                told.extend(done.told);
            }
            Err(problems) => wrong.extend(problems.iter().map(|problem| format!("{}: {problem}", file.shown))),
        }
    }
    if !wrong.is_empty() {
        return Err(Trouble::Said(wrong.join("\n")));
    }
    told.iter().for_each(|told| eprintln!("{told}"));
    out.push_str(&inject::join(&written));
    Ok(())
}
