//! `/docs`: the description of the API as a page for people, made from `/v1/openapi.json` itself. It needs no script and
//! asks nobody else for anything.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;

const STYLE: &str = include_str!("docs.css");

/// How deep the fields of an answer are shown.
const DEPTH: usize = 6;

/// The page's style.
pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css")], STYLE)
}

/// The page, as it is served.
pub(super) fn response(page: String) -> Response {
    let policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}

/// The page of a description.
pub(super) fn page(about: &Value) -> String {
    let mut page = Page { about, html: String::new() };
    page.write();
    page.html
}

struct Page<'a> {
    about: &'a Value,
    html: String,
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

/// Texts of the description mark code as Markdown does.
fn prose(value: &Value) -> String {
    let parts = text(value);
    let mut html = String::new();
    for (at, part) in parts.split('`').enumerate() {
        html.push_str(&if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() });
    }
    html
}

impl<'a> Page<'a> {
    fn add(&mut self, html: &str) {
        self.html.push_str(html);
    }

    fn write(&mut self) {
        let info = &self.about["info"];
        let (title, says) = (text(&info["title"]), prose(&info["description"]));
        self.add(&format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}: the API</title><link rel=\"stylesheet\" href=\"/docs/style.css\"></head><body><header><h1>{title}</h1><p>{says}</p><p>For programs: <a href=\"/v1/openapi.json\">openapi.json</a></p></header>"
        ));
        let operations = self.operations();
        self.add("<nav><ul>");
        for (method, path, _) in &operations {
            let (method, path) = (method.to_uppercase(), escaped(path));
            self.add(&format!("<li><a href=\"#{method}{path}\"><b>{method}</b> {path}</a></li>"));
        }
        self.add("</ul></nav><main>");
        for (method, path, operation) in operations {
            self.operation(method, path, operation);
        }
        self.add("</main></body></html>");
    }

    fn operations(&self) -> Vec<(&'a str, &'a str, &'a Value)> {
        let paths = self.about["paths"].as_object().into_iter().flatten();
        let of_path = |(path, item): (&'a String, &'a Value)| {
            let methods = item.as_object().into_iter().flatten();
            methods
                .filter(|(_, operation)| operation.get("responses").is_some())
                .map(|(method, operation)| (method.as_str(), path.as_str(), operation))
                .collect::<Vec<_>>()
        };
        paths.flat_map(of_path).collect()
    }

    fn operation(&mut self, method: &str, path: &str, operation: &'a Value) {
        let (method, path) = (method.to_uppercase(), escaped(path));
        self.add(&format!("<section id=\"{method}{path}\"><h2><b>{method}</b> <code>{path}</code></h2>"));
        self.add(&format!("<p>{}</p>", prose(&operation["summary"])));
        if operation.get("description").is_some() {
            self.add(&format!("<p>{}</p>", prose(&operation["description"])));
        }
        let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
        if !parameters.is_empty() {
            self.add("<h3>Parameters</h3><table>");
            for parameter in parameters {
                self.parameter(parameter);
            }
            self.add("</table>");
        }
        self.add("<h3>Answers</h3><table>");
        for (status, response) in operation["responses"].as_object().into_iter().flatten() {
            self.add(&format!(
                "<tr><td><code>{}</code></td><td>{}</td></tr>",
                escaped(status),
                prose(&response["description"])
            ));
        }
        self.add("</table>");
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.is_object() {
            self.add("<details><summary>The answer, field by field</summary>");
            self.fields(schema, 0);
            self.add("</details>");
        }
        self.add("</section>");
    }

    fn parameter(&mut self, parameter: &Value) {
        let schema = &parameter["schema"];
        let allowed: Vec<String> = schema["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|value| format!("<code>{}</code>", text(value)))
            .collect();
        let default = match &schema["default"] {
            Value::Null => String::new(),
            Value::String(default) => format!(" Default <code>{}</code>.", escaped(default)),
            default => format!(" Default <code>{default}</code>."),
        };
        let required = if parameter["required"] == true { " <em>required</em>" } else { "" };
        let row = format!(
            "<tr><td><code>{}</code>{required}</td><td>{} {}{default}</td></tr>",
            text(&parameter["name"]),
            prose(&parameter["description"]),
            allowed.join(" "),
        );
        self.add(&row);
    }

    /// The members of an object, of what a list lists, or of what a reference names.
    fn fields(&mut self, schema: &'a Value, depth: usize) {
        let schema = self.resolved(schema);
        if depth == DEPTH {
            return;
        }
        if let Some(items) = schema.get("items") {
            return self.fields(items, depth);
        }
        let parts = ["allOf", "oneOf", "anyOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten();
        for part in parts.collect::<Vec<_>>() {
            self.fields(part, depth);
        }
        let Some(members) = schema["properties"].as_object() else { return };
        self.add("<ul>");
        for (name, member) in members {
            let says = [member, self.resolved(member)].into_iter().find(|schema| schema.get("description").is_some());
            let says = says.map_or_else(String::new, |schema| prose(&schema["description"]));
            self.add(&format!("<li><code>{}</code> {says}", escaped(name)));
            self.fields(member, depth + 1);
            self.add("</li>");
        }
        self.add("</ul>");
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().and_then(|place| place.rsplit('/').next());
        name.map_or(schema, |name| &self.about["components"]["schemas"][name])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_shows_every_operation_and_parameter_and_is_safe() {
        let mut about = serde_json::to_value(linktide_query::openapi()).unwrap();
        about["paths"]["/v1/links"]["get"]["summary"] = "<script>alert(1)</script> & `code`".into();
        let page = page(&about);
        for (path, item) in about["paths"].as_object().unwrap() {
            assert!(page.contains(&format!("<code>{path}</code></h2>")), "{path}");
            for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                assert!(page.contains(&format!("<td><code>{name}</code>")), "{path}: {name}");
            }
        }
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; <code>code</code>") && !page.contains("<script")
        );
        assert!(page.contains("<code>as_of</code>"), "fields of what an answer refers to are shown");
        let opened = |tag: &str| page.matches(&format!("<{tag}")).count();
        for tag in ["ul", "li", "table", "section", "details"] {
            let closed = page.matches(&format!("</{tag}>")).count();
            assert!(closed > 0 && opened(&format!("{tag}>")) + opened(&format!("{tag} ")) == closed, "{tag}");
        }
    }
}
