//! Compiles what the etcd store speaks and keeps, without a `protoc` binary, as the contract is; and takes the comments out of the
//! contract, for the descriptions in our custom resource definitions: the descriptors that every program carries have none.

use std::path::PathBuf;

/// What the documents of people are made of.
const DOCUMENTED: [&str; 2] = ["laneway.admin.v1", "laneway.routing.v1"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/etcd.proto", "proto/state.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).open_files(files.map(|file| file.trim_start_matches("proto/")))?;
    tonic_prost_build::configure().build_server(false).compile_fds(compiler.file_descriptor_set())?;

    println!("cargo::rerun-if-changed=../proto/laneway");
    let mut contract = protox::Compiler::new(["../proto"])?;
    contract.include_imports(true).include_source_info(true).open_files(["laneway/admin/v1/resources.proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("comments.tsv"), comments(&contract))?;
    Ok(())
}

/// A line for each message and field: its full name, a tab, the first paragraph of its comment.
fn comments(contract: &protox::Compiler) -> String {
    let mut lines = Vec::new();
    for file in contract.file_descriptor_set().file {
        if !DOCUMENTED.contains(&file.package()) {
            continue;
        }
        for location in file.source_code_info.iter().flat_map(|info| &info.location) {
            let Some(comment) = &location.leading_comments else { continue };
            let paragraph = comment.trim().lines().map(str::trim).take_while(|line| !line.is_empty());
            let paragraph: Vec<&str> = paragraph.collect();
            // Of a path the fields of FileDescriptorProto: 4 a message, in it 2 a field.
            let name = match location.path.as_slice() {
                [4, message] => file.message_type.get(*message as usize).map(|own| own.name().to_owned()),
                [4, message, 2, field] => file.message_type.get(*message as usize).and_then(|own| {
                    own.field.get(*field as usize).map(|field| format!("{}.{}", own.name(), field.name()))
                }),
                _ => None,
            };
            if let Some(name) = name {
                lines.push(format!("{}.{name}\t{}\n", file.package(), paragraph.join(" ")));
            }
        }
    }
    lines.concat()
}
