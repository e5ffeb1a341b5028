//! Takes the user-agent rules out of the `ua-parser` package, which carries uap-core's, and hands them on as JSON.
//!
//! They are found through `cargo metadata`, wherever the package lies, and are no part of this repository.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rules = rules();
    let text = std::fs::read_to_string(&rules).unwrap_or_else(|error| panic!("{}: {error}", rules.display()));
    let value: serde_json::Value = serde_yaml_ng::from_str(&text).expect("uap-core's rules are YAML");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("user_agents.json");
    std::fs::write(&out, value.to_string()).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

fn rules() -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("cargo sets CARGO");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--filter-platform"])
        .arg(std::env::var_os("TARGET").expect("cargo sets TARGET"))
        .current_dir(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    let package = packages.iter().find(|package| package["name"] == "ua-parser").expect("ua-parser is a dependency");
    let manifest = package["manifest_path"].as_str().expect("a package has a manifest");
    Path::new(manifest).with_file_name("uap-core").join("regexes.yaml")
}
