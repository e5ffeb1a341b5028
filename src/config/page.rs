//! docs/configuration.md, made of the typed structs: their comments are what it says, their defaults are the defaults.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::Config;

const INTRODUCTION: &str = "\
# Configuration

Every command reads the same settings, from defaults < a file < the environment < flags:

```sh
linktide speed --config linktide.toml                       # a file
LINKTIDE_REDIS__URL=redis://cache:6379 linktide speed       # two underscores for each dot
linktide speed --set redis.url=redis://cache:6379           # a flag, as often as you like
linktide config show                                        # what is in force, secrets left out
linktide config check                                       # every problem at once
```

Unknown settings are refused. Times are written as `500ms`, `30s`, `15m`, `1h`, `7d`; sizes as `64MiB`. Secrets belong into the environment or a file that only the service can read, not into flags, which others on the machine see.

This page is made of the program's own settings; a test keeps it so.
";

/// A struct as its source has it: its fields with their comments and types, in order.
type Struct = Vec<(String, String, String)>;

/// The structs of a source, by name.
fn structs(source: &str) -> BTreeMap<String, Struct> {
    let mut found: BTreeMap<String, Struct> = BTreeMap::new();
    let (mut open, mut says): (Option<String>, Vec<&str>) = (None, Vec::new());
    for line in source.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
            open = Some(name.to_owned());
            says.clear();
        } else if line == "}" {
            open = None;
        } else if let Some(text) = line.strip_prefix("/// ") {
            says.push(text);
        } else if let (Some(name), Some(field)) =
            (&open, line.strip_prefix("pub ").and_then(|rest| rest.strip_suffix(',')))
            && let Some((field, of)) = field.split_once(": ")
        {
            let field = (field.to_owned(), says.join(" "), of.to_owned());
            found.entry(name.clone()).or_default().push(field);
            says.clear();
        }
    }
    found
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(place: &str) -> String {
    std::fs::read_to_string(folder().join(place)).unwrap()
}

struct Page {
    structs: BTreeMap<String, Struct>,
    text: String,
}

impl Page {
    fn section(&mut self, name: &str, says: &str, of: &str, defaults: &Value) {
        writeln!(self.text, "\n## `[{name}]`\n\n{says}\n\n| setting | default | |\n|---|---|---|").unwrap();
        self.rows(name, of, Some(defaults));
    }

    fn rows(&mut self, place: &str, of: &str, defaults: Option<&Value>) {
        for (field, says, of) in self.structs[of].clone() {
            let place = format!("{place}.{field}");
            let default = defaults.and_then(|defaults| defaults.get(&field));
            if self.structs.contains_key(&of) {
                self.rows(&place, &of, default);
                continue;
            }
            let default = match default {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => format!("`{text}`"),
                Some(value) => format!("`{value}`"),
            };
            writeln!(self.text, "| `{place}` | {default} | {} |", says.replace('|', "\\|")).unwrap();
            for (kind, each) in [("Option<", ""), ("Vec<", "[]")] {
                let inner = of.strip_prefix(kind).and_then(|rest| rest.strip_suffix('>'));
                if let Some(inner) = inner.filter(|inner| self.structs.contains_key(*inner)) {
                    self.rows(&format!("{place}{each}"), inner, None);
                }
            }
        }
    }
}

fn page() -> String {
    let sources = [
        "src/config/mod.rs",
        "src/config/access.rs",
        "src/config/export.rs",
        "src/config/ingest.rs",
        "src/config/repeats.rs",
        "common/src/enrich/bot/config.rs",
    ];
    let structs: BTreeMap<String, Struct> = sources.iter().flat_map(|source| structs(&read(source))).collect();
    let sections = structs["Config"].clone();
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let mut page = Page { structs, text: INTRODUCTION.to_owned() };
    for (name, says, of) in &sections {
        page.section(name, says, of, &defaults[name]);
    }
    page.text
}

#[test]
fn configuration_page_says_what_there_is() {
    let (page, place) = (page(), "docs/configuration.md");
    if std::env::var_os("LINKTIDE_WRITE_DOCS").is_some() {
        std::fs::write(folder().join(place), &page).unwrap();
    }
    assert!(
        read(place) == page,
        "{place} is not what the settings are: LINKTIDE_WRITE_DOCS=1 ./dev test configuration_page makes it anew"
    );
    // Whatever can be set is on it.
    let mut left = vec![(String::new(), serde_json::to_value(Config::default()).unwrap())];
    while let Some((place, value)) = left.pop() {
        match value {
            Value::Object(fields) if !fields.is_empty() && !page.contains(&format!("| `{place}` |")) => {
                let dot = if place.is_empty() { "" } else { "." };
                left.extend(fields.into_iter().map(|(field, value)| (format!("{place}{dot}{field}"), value)));
            }
            _ => assert!(page.contains(&format!("| `{place}` |")), "{place} is missing"),
        }
    }
}
