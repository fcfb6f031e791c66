//! Builds the guests and the sample tasks for wasm32-wasip2, makes components of the guests in text
//! form, and names each in a constant.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() {
    let tests = PathBuf::from(env("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env("OUT_DIR"));
    // <target>/<profile>/build/<package>/out
    let target = out.ancestors().nth(4).expect("OUT_DIR lies within the target directory").join("guests");
    for watched in ["guests", "../sample-tasks", "../sdk/rust", "../wit"] {
        println!("cargo::rerun-if-changed={}", tests.join(watched).display());
    }
    build(&tests.join("guests"), &target, &["--examples"]);
    build(&tests.join("../sample-tasks"), &target, &["--workspace"]);
    let release = target.join("wasm32-wasip2/release");
    let mut constants = String::new();
    for name in names(&tests.join("guests/examples"), "rs") {
        declare(&mut constants, &name, &release.join("examples").join(format!("{name}.wasm")));
    }
    for name in names(&tests.join("guests"), "wat") {
        let wasm = out.join(format!("{name}.wasm"));
        let component = component(&tests.join("guests").join(format!("{name}.wat")), &tests.join("../wit"));
        std::fs::write(&wasm, component).expect("OUT_DIR can be written");
        declare(&mut constants, &name, &wasm);
    }
    for name in names(&tests.join("../sample-tasks"), "") {
        let file = name.replace('-', "_");
        let wasm = release.join(format!("{file}.wasm"));
        if wasm.is_file() {
            declare(&mut constants, &format!("sample_{file}"), &wasm);
        }
    }
    std::fs::write(out.join("guests.rs"), constants).expect("OUT_DIR can be written");
}

fn build(workspace: &Path, target: &Path, what: &[&str]) {
    let status = Command::new(env("CARGO"))
        .args(["build", "--release", "--locked", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(target)
        .args(what)
        .current_dir(workspace)
        // Flags that were meant for the host are not for the guests.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .status()
        .expect("cargo can be started");
    assert!(
        status.success(),
        "the guests in {} do not build; is the target there? `rustup target add wasm32-wasip2`",
        workspace.display()
    );
}

/// A component of the world `task` whose one core module is this text.
fn component(text: &Path, wit: &Path) -> Vec<u8> {
    let mut module = wat::parse_file(text).expect("the guest is WebAssembly text");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).expect("the WIT can be read");
    let world = resolve.select_world(&[package], Some("task")).expect("the package has the world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the world can be embedded");
    let mut encoder = ComponentEncoder::default();
    encoder.module(&module).expect("the module fits the world");
    encoder.encode().expect("the module exports what the world asks for")
}

/// The names of the files with this extension, or of the directories where it is empty.
fn names(dir: &Path, extension: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the directory is part of the repository");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().unwrap_or_default() == extension && path.is_dir() == extension.is_empty())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

fn declare(constants: &mut String, name: &str, wasm: &Path) {
    let constant = name.to_uppercase();
    writeln!(constants, "/// `{name}`\npub const {constant}: &str = {:?};", wasm.display().to_string())
        .expect("a string can be written to");
}

fn env(name: &str) -> String {
    std::env::var(name).expect("cargo sets it")
}
