//! Embeds the web page where it has been built: every file of `dashboard/dist/` as it is and packed. Without it the crate
//! builds all the same, and the page says how it is made.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    // The folder is always there, with a file that keeps it: cargo would take one that is not for changed each time.
    println!("cargo::rerun-if-changed=dashboard/dist");
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("dashboard/dist");
    let mut list = String::from("&[\n");
    if dist.join("index.html").exists() {
        for folder in ["", "assets"] {
            add(&mut list, &dist, folder)?;
        }
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("page.rs"), list)?;
    Ok(())
}

/// Adds the files of a folder, each with its packed forms beside it.
fn add(list: &mut String, dist: &Path, folder: &str) -> Result<(), Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dist.join(folder))? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| format!("{name:?} is no name of a file"))?;
        let packed = name.ends_with(".gz") || name.ends_with(".br");
        if entry.file_type()?.is_file() && !packed && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    for name in names {
        let path = dist.join(folder).join(&name);
        let path = path.to_str().ok_or("the folder of the page has a name that is no text")?;
        writeln!(
            list,
            "File {{ name: {name:?}, plain: include_bytes!({path:?}), gzip: include_bytes!({:?}), brotli: include_bytes!({:?}) }},",
            format!("{path}.gz"),
            format!("{path}.br"),
        )?;
    }
    Ok(())
}
