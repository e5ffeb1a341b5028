//! What the service says of exports and webhooks, from the tables that their parsers use.

use linktide_common::dimension::Dimension;
use serde_json::json;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Required};

use super::openapi::{add_problem, add_security, parameter};
use super::{exports, webhooks};
use crate::export::format::Format;
use crate::export::spec::{OWN, Of};
use crate::params::COMMON;

#[derive(OpenApi)]
#[openapi(paths(
    exports::of_link,
    exports::of_account,
    exports::create,
    exports::list,
    exports::show,
    exports::cancel,
    exports::part,
    webhooks::create,
    webhooks::list,
    webhooks::show,
    webhooks::delete,
    webhooks::deliveries,
    webhooks::test,
))]
struct Paths;

/// What the service says of them.
pub(super) fn about() -> utoipa::openapi::OpenApi {
    let mut about = Paths::openapi();
    add_security(&mut about);
    for (path, item) in &mut about.paths.paths {
        let of_one = [("{link_id}", "link_id"), ("{id}", "id"), ("{number}", "number")];
        for operation in operations(item) {
            let named = of_one.iter().filter(|(part, _)| path.contains(part)).map(|(_, name)| in_path(name).into());
            operation.parameters.get_or_insert_default().extend(named);
            if path.contains("{id}") {
                add_problem(operation, "404", "There is none of the caller's by that id");
            }
            add_problem(operation, "503", "A layer or the lake does not answer; try again after `Retry-After` seconds");
        }
        if let (true, Some(operation)) = (path.ends_with("/export"), &mut item.get) {
            let names = every_name(path == "/v1/account/export");
            operation.parameters.get_or_insert_default().extend(names.into_iter().map(|name| query(name).into()));
            add_problem(operation, "400", "A parameter is unknown, missing, or cannot have its value");
            add_problem(
                operation,
                "410",
                "The publication asked about holds clicks that were erased since, or raw clicks of the range were deleted by age",
            );
            add_problem(operation, "422", "It is larger than what is streamed; `job` names the way");
            add_problem(operation, "429", "As many exports as there may be are streamed now");
        }
        if let Some(operation) = &mut item.post {
            add_problem(operation, "400", "The body is none, or a member cannot have its value");
            add_problem(operation, "429", "There are as many as there may be");
        }
        if path.contains("/parts/")
            && let Some(operation) = &mut item.get
        {
            add_problem(operation, "410", "Its files were deleted, by age, by wish, or because clicks were erased");
        }
    }
    if let Some(item) = about.paths.paths.get_mut("/v1/exports")
        && let Some(operation) = &mut item.post
    {
        operation.request_body = Some(body_of(every_name(true)).into());
    }
    about
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// The parameters of an export.
fn every_name(of_account: bool) -> Vec<&'static str> {
    let filters = Dimension::ALL.iter().map(|dimension| dimension.name());
    COMMON.iter().chain(OWN).copied().chain(of_account.then_some("links")).chain(filters).collect()
}

fn in_path(name: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    let place = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
    place.required(Required::True).schema(Some(schema)).build()
}

/// A parameter of an export; those it has in common with questions are described there.
fn query(name: &str) -> Parameter {
    let text = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    let one_of = |names: &[&str], default: &str| text().enum_values(Some(names.to_vec())).default(Some(json!(default)));
    let (schema, says) = match name {
        "of" => (one_of(Of::NAMES, "clicks"), "What the rows are"),
        "format" => (one_of(Format::NAMES, "csv"), "What they are written as"),
        "previews" => (one_of(&["true", "false"], "false"), "Whether HEAD requests are rows, too; with `of=clicks`"),
        "visitors" => (
            one_of(&["true", "false"], "false"),
            "Whether visitors are told apart, by a hash that is salted anew each day; with `of=clicks`",
        ),
        "incomplete" => (
            one_of(&["true", "false"], "false"),
            "Whether the range may hold days whose raw clicks were deleted by age; with `of=clicks`",
        ),
        "filename" => (text(), "What the file is called, without its ending"),
        "links" => (text(), "Ids with commas between them: these links alone"),
        "unit" | "by" => {
            let mut known = parameter(name);
            known.required = Required::False;
            return known;
        }
        _ => return parameter(name),
    };
    let described = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
    described.description(Some(says)).schema(Some(schema)).build()
}

/// The same as the members of a JSON object.
fn body_of(names: Vec<&'static str>) -> utoipa::openapi::request_body::RequestBody {
    let schema = names.into_iter().fold(ObjectBuilder::new(), |schema, name| {
        let described = query(name);
        match described.schema {
            Some(member) => schema.property(name, member),
            None => schema,
        }
    });
    let content = ContentBuilder::new().schema(Some(schema)).build();
    RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True)).build()
}
