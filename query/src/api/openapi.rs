//! What the query service says of itself. Parameters come from the tables that the parser uses, so they cannot differ.

use linktide_common::bucket::{Interval, Unit};
use linktide_common::dimension::Dimension;
use serde_json::json;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, Required};

use super::{account, freshness, health, links, shares};
use crate::params::{self, COMMON};

#[derive(OpenApi)]
#[openapi(
    info(title = "Linktide", description = "Link analytics: exact counts, fresh within seconds, open history."),
    paths(
        links::top,
        links::summary,
        links::timeseries,
        links::breakdown,
        account::summary,
        account::timeseries,
        account::breakdown,
        freshness::freshness,
        shares::create,
        shares::list,
        shares::revoke,
        health::healthz,
        health::readyz,
        health::metrics,
    )
)]
struct Paths;

/// Who may ask, in the words of OpenAPI: a credential for each place below `/v1`, and none for the others.
fn add_security(about: &mut utoipa::openapi::OpenApi) {
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key (`lt_…`), a token of the identity provider (a JWT), or a share token (`lts_…`)"))
        .build();
    let share = ApiKeyValue::with_description("share", "A share token (`lts_…`): it shows one link, and no other");
    let components = about.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(key));
    components.add_security_scheme("share", SecurityScheme::ApiKey(ApiKey::Query(share)));
    for (path, item) in &mut about.paths.paths {
        let by_share = path.starts_with("/v1/links/") || path == "/v1/freshness";
        let item = [&mut item.get, &mut item.post, &mut item.delete, &mut item.put];
        for operation in item.into_iter().flatten().filter(|_| path.starts_with("/v1/")) {
            let needs = |scheme| SecurityRequirement::new(scheme, [""; 0]);
            let schemes = by_share.then(|| needs("share")).into_iter();
            operation.security = Some(std::iter::once(needs("bearer")).chain(schemes).collect());
            add_problem(operation, "401", "A credential is missing, or is none any more; `WWW-Authenticate` says more");
            add_problem(operation, "403", "The credential lacks a scope, or is for another link");
            add_problem(operation, "429", "Too much was asked; `Retry-After` says when to try again");
        }
    }
}

/// What the query service says of itself.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut about = Paths::openapi();
    add_security(&mut about);
    for (path, item) in &mut about.paths.paths {
        let Some(operation) = &mut item.get else { continue };
        if let Some(own) = takes(path) {
            add_parameters(operation, path, own);
            add_problem(operation, "400", "A parameter is unknown, missing, or cannot have its value");
            add_problem(operation, "410", "The publication asked about holds clicks that were erased since");
            add_problem(operation, "503", "Nothing is published yet; try again after `Retry-After` seconds");
        } else if path == "/v1/freshness" || path == "/readyz" {
            add_problem(operation, "503", "The service has not caught up yet; `Retry-After` says when to try again");
        }
    }
    about
}

/// The parameters of a question beside the common ones; none where the path is no question.
fn takes(path: &str) -> Option<&'static [&'static str]> {
    match path.rsplit('/').next()? {
        "summary" => Some(params::SUMMARY),
        "timeseries" => Some(params::TIMESERIES),
        "breakdown" => Some(params::BREAKDOWN),
        "links" => Some(params::LINKS),
        _ => None,
    }
}

fn add_parameters(operation: &mut Operation, path: &str, own: &[&str]) {
    let of_path = path.contains("{link_id}").then(|| {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,20}$"));
        ParameterBuilder::new()
            .name("link_id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(schema))
            .build()
    });
    let parameters = of_path.into_iter().chain(COMMON.iter().chain(own).map(|name| parameter(name)));
    operation.parameters.get_or_insert_default().extend(parameters.map(Into::into));
}

/// A parameter of the query string.
fn parameter(name: &str) -> Parameter {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let one_of = |names: Vec<&str>, default: &str| text().enum_values(Some(names)).default(Some(json!(default)));
    let dimensions: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.name()).collect();
    let (schema, says) = match name {
        "interval" => (
            one_of(Interval::NAMES.iter().map(|(name, _)| *name).collect(), params::DEFAULT.0),
            "A range by its name, up to now; instead of `start` and `end`".to_owned(),
        ),
        "start" => (text(), "Where the range starts: a date, a local time or an instant; with `end`".to_owned()),
        "end" => (text(), "Where the range ends; a date includes that day; with `start`".to_owned()),
        "timezone" => (text().default(Some(json!("UTC"))), "A name of the IANA database".to_owned()),
        "traffic" => (one_of(params::TRAFFIC.to_vec(), "human"), "Whose clicks are counted".to_owned()),
        "publication" => (
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)),
            "A report as of a past publication: history alone, and the same answer each time".to_owned(),
        ),
        "unit" => (
            one_of(Unit::NAMES.iter().map(|(name, _)| *name).collect(), "day"),
            "How long a bucket is; `quarter` is 15 minutes".to_owned(),
        ),
        "limit" => (
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .maximum(Some(params::MOST_LISTED))
                .default(Some(json!(params::LISTED))),
            "How many are listed; the rest is `(other)`".to_owned(),
        ),
        _ => (text(), format!("One or several, with commas between them, of: {}", dimensions.join(", "))),
    };
    let required = if name == "by" { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(required)
        .description(Some(says))
        .schema(Some(schema))
        .build()
}

/// An RFC 9457 problem document.
fn add_problem(operation: &mut Operation, status: &str, says: &str) {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let schema = ObjectBuilder::new()
        .property("type", text())
        .property("title", text())
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .property("detail", text())
        .property("parameter", text());
    let required = ["type", "title", "status", "detail"];
    let schema = required.into_iter().fold(schema, ObjectBuilder::required);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new().description(says).content("application/problem+json", content).build();
    operation.responses.responses.insert(status.to_owned(), response.into());
}
