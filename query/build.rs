//! Embeds the web page where it has been built: every file of `dashboard/dist/` as it is and packed. Without it the crate
//! builds all the same, and the page says how it is made.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    // The folder is always there, with a file that keeps it: cargo would take one that is not for changed each time.
    println!("cargo::rerun-if-changed=dashboard/dist");
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("dashboard/dist");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Embedded from copies: the page may be built anew while the crate is compiled.
    let kept = out.join("page");
    if kept.exists() {
        fs::remove_dir_all(&kept)?;
    }
    fs::create_dir_all(&kept)?;
    let mut list = String::from("&[\n");
    if dist.join("index.html").exists() {
        for folder in [dist.clone(), dist.join("assets")] {
            add(&mut list, &folder, &kept)?;
        }
    }
    list.push_str("]\n");
    fs::write(out.join("page.rs"), list)?;
    Ok(())
}

/// Adds the files of a folder, each with its packed forms beside it.
fn add(list: &mut String, folder: &Path, kept: &Path) -> Result<(), Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| format!("{name:?} is no name of a file"))?;
        let packed = name.ends_with(".gz") || name.ends_with(".br");
        if entry.file_type()?.is_file() && !packed && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    for name in names {
        let keep = |packed: &str| -> Result<PathBuf, Box<dyn Error>> {
            let file = format!("{name}{packed}");
            fs::copy(folder.join(&file), kept.join(&file))?;
            Ok(kept.join(file))
        };
        let (plain, gzip, brotli) = (keep("")?, keep(".gz")?, keep(".br")?);
        writeln!(
            list,
            "File {{ name: {name:?}, plain: include_bytes!({plain:?}), gzip: include_bytes!({gzip:?}), brotli: include_bytes!({brotli:?}) }},",
        )?;
    }
    Ok(())
}
