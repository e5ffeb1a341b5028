//! Takes the user-agent rules out of the `ua-parser` package, which carries uap-core's, and hands them on as JSON.
//!
//! They are found through `cargo metadata`, wherever the package lies (registry, vendored folder), and are no part of
//! this repository. The versions of the packages whose rules decide are handed on as `LINKTIDE_RULES`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "layers")]
    rules::take();
}

/// Only the layers behind the log enrich: an emitter alone needs neither the rules nor what reads them.
#[cfg(feature = "layers")]
mod rules {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// The packages whose rules and lists decide what a click is taken for.
    const RULES: [&str; 3] = ["ua-parser", "isbot", "psl"];

    pub(super) fn take() {
        let metadata = metadata();
        let package = |name: &str| {
            let packages = metadata["packages"].as_array().into_iter().flatten();
            packages
                .into_iter()
                .find(|package| package["name"] == name)
                .unwrap_or_else(|| panic!("{name} is a dependency"))
        };
        let text = |value: &serde_json::Value| value.as_str().expect("cargo metadata has a text here").to_owned();

        let manifest = text(&package("ua-parser")["manifest_path"]);
        let rules = Path::new(&manifest).with_file_name("uap-core").join("regexes.yaml");
        let yaml = std::fs::read_to_string(&rules).unwrap_or_else(|error| panic!("{}: {error}", rules.display()));
        let json: serde_json::Value = serde_yaml_ng::from_str(&yaml).expect("uap-core's rules are YAML");
        let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("user_agents.json");
        std::fs::write(&out, json.to_string()).unwrap_or_else(|error| panic!("{}: {error}", out.display()));

        let versions = RULES.map(|name| format!("{name}-{}", text(&package(name)["version"])));
        println!("cargo::rustc-env=LINKTIDE_RULES={}", versions.join("+"));
        println!("cargo::rerun-if-changed={}", rules.display());
        println!("cargo::rerun-if-changed={}/Cargo.lock", text(&metadata["workspace_root"]));
    }

    /// What cargo knows of all packages. Only where it has not all of them at hand it may ask the network for the others.
    fn metadata() -> serde_json::Value {
        let found = ask_cargo(&["--offline"]).or_else(|_| ask_cargo(&[]));
        found.unwrap_or_else(|error| panic!("cargo metadata cannot find the package ua-parser: {error}"))
    }

    fn ask_cargo(more: &[&str]) -> Result<serde_json::Value, String> {
        let set = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
        let output = Command::new(set("CARGO"))
            .args(["metadata", "--format-version=1", "--filter-platform"])
            .arg(set("TARGET"))
            .args(more)
            .current_dir(set("CARGO_MANIFEST_DIR"))
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }
}
