//! What the query service says of itself. Parameters come from the tables that the parser uses, so they cannot differ.

use linktide_common::bucket::{Comparison, Interval, Unit};
use linktide_common::dimension::Dimension;
use serde_json::json;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, RefOr, Required};

use super::{account, freshness, health, links, live, many, shares};
use crate::params::{self, COMMON};
use crate::question::{Kind, MOST_LINKS, SORTS};

#[derive(OpenApi)]
#[openapi(
    info(title = "Linktide", description = "Link analytics: exact counts, fresh within seconds, open history."),
    paths(
        many::query,
        links::list,
        links::compare,
        links::summary,
        links::timeseries,
        links::breakdown,
        links::heatmap,
        live::link,
        live::account,
        account::summary,
        account::timeseries,
        account::breakdown,
        account::heatmap,
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
pub(super) fn add_security(about: &mut utoipa::openapi::OpenApi) {
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key (`lt_…`), a token of the identity provider (a JWT), or a share token (`lts_…`)"))
        .build();
    let share = ApiKeyValue::with_description("share", "A share token (`lts_…`): it shows one link, and no other");
    let components = about.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(key));
    components.add_security_scheme("share", SecurityScheme::ApiKey(ApiKey::Query(share)));
    for (path, item) in &mut about.paths.paths {
        let of_link = path.starts_with("/v1/links/") && !path.ends_with("/export");
        let by_share = of_link || ["/v1/freshness", "/v1/query"].contains(&path.as_str());
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
        if path.starts_with("/v1/share-links") {
            [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten().for_each(add_share_problems);
            continue;
        }
        if let Some(operation) = &mut item.post {
            add_problems(operation);
            add_problem(operation, "413", "The body is too large");
        }
        let Some(operation) = &mut item.get else { continue };
        if let Some(kind) = kind(path) {
            let filters = Dimension::ALL.iter().map(|dimension| dimension.name());
            let takes: Vec<&str> = COMMON.iter().chain(kind.takes()).copied().chain(filters).collect();
            add_parameters(operation, path, &takes);
            add_problems(operation);
            operation.responses.responses.insert(
                "304".to_owned(),
                ResponseBuilder::new()
                    .description("What the caller has, by its `If-None-Match`, is still so")
                    .build()
                    .into(),
            );
        } else if path.ends_with("/live") {
            add_parameters(operation, path, live::PARAMETERS);
            // A stream knows no filters, and suspected clicks are found by one.
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter
                    && parameter.name == "traffic"
                {
                    parameter.schema = Some(one_of(params::LIVE_TRAFFIC.to_vec(), "human").into());
                }
            }
            add_problem(operation, "400", "A parameter or `Last-Event-ID` is none of a stream");
            add_problem(operation, "429", "There are too many streams; try again after `Retry-After` seconds");
            add_problem(operation, "503", "Nothing is published yet; try again after `Retry-After` seconds");
        } else if path == "/v1/freshness" || path == "/readyz" {
            add_problem(operation, "503", "The service has not caught up yet; `Retry-After` says when to try again");
            if path == "/v1/freshness" {
                add_problem(operation, "400", "It takes no parameter");
            }
        }
    }
    about.merge(super::openapi_files::about());
    about
}

/// The question that a path asks; none where it asks none.
fn kind(path: &str) -> Option<Kind> {
    Kind::named(path.rsplit('/').next()?)
}

/// What a request about share links may be refused for.
fn add_share_problems(operation: &mut Operation) {
    add_problem(operation, "400", "A parameter is unknown, or the body is no share link");
    add_problem(operation, "404", "The tenant has no such share link, or no keys are asked for here");
    add_problem(operation, "409", "The tenant has as many share links as it may have");
    add_problem(operation, "413", "The body is too large");
    add_problem(operation, "503", "Share links cannot be kept now; try again after `Retry-After` seconds");
}

/// What a question may be refused for.
fn add_problems(operation: &mut Operation) {
    add_problem(operation, "400", "A parameter is unknown, missing, or cannot have its value");
    add_problem(operation, "410", "The publication asked about holds clicks that were erased since");
    add_problem(operation, "422", "Rollups cannot tell it; `export` names the export that can");
    add_problem(operation, "503", "Nothing is published yet; try again after `Retry-After` seconds");
}

fn add_parameters(operation: &mut Operation, path: &str, takes: &[&str]) {
    let of_path = path.contains("{link_id}").then(|| {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,20}$"));
        ParameterBuilder::new()
            .name("link_id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(schema))
            .build()
    });
    let parameters = of_path.into_iter().chain(takes.iter().map(|name| parameter(name)));
    operation.parameters.get_or_insert_default().extend(parameters.map(Into::into));
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn one_of(names: Vec<&str>, default: &str) -> ObjectBuilder {
    text().enum_values(Some(names)).default(Some(json!(default)))
}

/// A parameter of the query string.
pub(super) fn parameter(name: &str) -> Parameter {
    let dimensions: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.name()).collect();
    let (schema, says) = match name {
        "interval" => (
            one_of(Interval::NAMES.iter().map(|(name, _)| *name).collect(), params::DEFAULT.0),
            "A range by its name, up to now; instead of `start` and `end`".to_owned(),
        ),
        "start" => (text(), "Where the range starts: a date, a local time or an instant; with `end`".to_owned()),
        "end" => (text(), "Where the range ends; a date includes that day; with `start`".to_owned()),
        "timezone" => (text().default(Some(json!("UTC"))), "A name of the IANA database".to_owned()),
        "traffic" => (
            one_of(params::TRAFFIC.to_vec(), "human"),
            "Whose clicks are counted; `suspected` are those of people that something speaks against".to_owned(),
        ),
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
        "by" => (text(), format!("One or several, with commas between them, of: {}", dimensions.join(", "))),
        "compare" => (
            text().enum_values(Some(Comparison::NAMES.iter().map(|(name, _)| *name))),
            "What the range is compared with: the one before it, or the same one a year ago".to_owned(),
        ),
        "sort" => (one_of(SORTS.to_vec(), SORTS[0]), "In which order links are listed".to_owned()),
        "search" => (text(), "Links with this in slug, title or destination, or with this id".to_owned()),
        "cursor" => (text(), "The `next` of the page before".to_owned()),
        "links" => (text(), format!("Up to {MOST_LINKS} ids with commas between them")),
        _ => (text(), format!("Clicks whose `{name}` is one of these (`a,b`), or none of them (`-a,b`)")),
    };
    let required = if ["by", "links"].contains(&name) { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(required)
        .description(Some(says))
        .schema(Some(schema))
        .build()
}

/// An RFC 9457 problem document.
pub(super) fn add_problem(operation: &mut Operation, status: &str, says: &str) {
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
