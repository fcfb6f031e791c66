//! The OpenAPI document: what these routes take and answer, said by the handlers and the shapes
//! themselves. It is served at `/openapi.json` to everyone.
//!
//! A handler says its method, path, query, body and answers in an attribute, and what it is for in
//! its documentation. What holds for all of them is added here: what a name in a path means, how
//! operations are called, and the errors of [`ReadErrors`] and [`ChangeErrors`]. A test compares the
//! paths with the table of routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    self, ArrayBuilder, ContentBuilder, HeaderBuilder, Object, Ref, RefOr, Required, ResponseBuilder, Type,
};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi};

use super::{
    admin, backtests, batches, bulk, changes, deployments, health, packets, queues, realtime, replay_rules, rerun,
    runs, schedules, session, statistics, streams, tokens, trace, trigger, variables, waitpoints,
};
use crate::api::{BatchItemRequest, ErrorBody, ShapeMessage};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dacapo",
        description = "The management API of Trigger.dev as its client 4.8.3 uses it, and what Dacapo adds.\n\nEvery \
                       answer that is not 2xx has the body `ErrorBody`. A field without a value is left out and \
                       never `null`, unless it is said. Instants are ISO 8601 in UTC. Durations are texts such as \
                       `30s`, `10m`, `2h30m`, `7d`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        admin::environments, admin::set_egress, admin::set_concurrency, admin::keys, admin::create_key,
        admin::revoke_key, admin::set_backtest_policy,
        batches::create, batches::items, batches::list, batches::retrieve, batches::results,
        backtests::create, backtests::list, backtests::retrieve, backtests::abort, backtests::delete, backtests::replays, backtests::report,
        bulk::create, bulk::list, bulk::retrieve, bulk::abort, bulk::members,
        changes::reschedule, changes::add_tags, changes::metadata, changes::change_metadata, changes::reset_key,
        deployments::deploy, deployments::list, deployments::current, deployments::latest, deployments::retrieve, deployments::promote,
        deployments::rollback,
        health::live, health::ready, document,
        packets::upload_link, packets::download_link, packets::of_run, packets::upload, packets::download,
        queues::list, queues::retrieve, queues::pause, queues::override_limit, queues::reset_limit,
        realtime::run, realtime::tags, realtime::batch,
        replay_rules::show, replay_rules::put,
        rerun::recording, rerun::rerun, rerun::calls, rerun::context, rerun::comparison,
        runs::list, runs::count, runs::retrieve, runs::result, runs::events, runs::logs, runs::cancel,
        schedules::create, schedules::list, schedules::retrieve, schedules::update, schedules::activate,
        schedules::deactivate, schedules::delete, schedules::timezones,
        session::begin, session::show, session::end,
        statistics::overview, statistics::of_task, statistics::errors,
        streams::read, streams::read_input, streams::open, streams::last, streams::write, streams::append,
        streams::input,
        tokens::claims, tokens::create,
        trace::trace, trace::span,
        trigger::trigger, trigger::replay,
        variables::list, variables::create, variables::import, variables::retrieve, variables::update,
        variables::delete,
        waitpoints::create, waitpoints::list, waitpoints::retrieve, waitpoints::complete, waitpoints::callback,
    ),
    components(schemas(ErrorBody, BatchItemRequest, ShapeMessage)),
    security(("key" = [])),
    modifiers(&Rest),
)]
struct Document;

/// The same thing under an older path.
const ALIASES: [(&str, &str); 1] = [("/api/v2/batches/{batch}", "/api/v1/batches/{batch}")];

/// What the names in paths mean.
const SEGMENTS: [(&str, &str); 20] = [
    ("backtest", "A backtest: `backtest_…`"),
    ("batch", "A batch: `batch_…`"),
    ("bulk", "A bulk action: `bulk_…`"),
    ("code", "The code in the address that the token's maker was given"),
    ("deployment", "A deployment: its version, such as `20261121.3`, or `deployment_…`"),
    ("environment", "An environment: `dev`, `stg` or `prod`; in a link, its id"),
    ("field", "`payload` or `output`"),
    ("key", "An idempotency key; under `/admin`, the id of an API key: `key_…`"),
    ("name", "The name of a variable"),
    ("object", "From the link"),
    ("path", "What the client calls the payload"),
    ("project", "Any text: there is one project"),
    ("queue", "A queue: `queue_…`, a task's id or the queue's name, as `type` says. A slash is encoded twice"),
    ("run", "A run: `run_…`"),
    ("span", "A span of the run's trace: 16 hexadecimal digits"),
    ("schedule", "A schedule: `sched_…`"),
    ("stream", "The name of a stream, of 1 to 128 characters"),
    ("target", "Whose stream it is: that of the run (`self`), of its `parent`, or of its `root`"),
    ("task", "The id of a task"),
    ("token", "A wait token: `waitpoint_…`"),
];

/// What cannot be said at the handlers, or would be said at all of them.
struct Rest;

impl Modify for Rest {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let bearer = |description: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
            SecurityScheme::Http(scheme.build())
        };
        let components = document.components.get_or_insert_default();
        components
            .add_security_scheme("key", bearer("The API key of an environment: `tr_dev_…`, `tr_stg_…`, `tr_prod_…`"));
        components.add_security_scheme(
            "adminKey",
            bearer(
                "The admin key. With the header `x-dacapo-environment` it also opens what the key of that environment \
                 opens",
            ),
        );
        components
            .add_security_scheme("publicToken", bearer("A public access token: a JWT whose scopes say what it opens"));
        let cookie = ApiKeyValue::with_description(
            session::COOKIE,
            "The session of an operator, in place of the admin key. Changes also need the header `x-csrf-token`",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        for (path, alias) in ALIASES {
            if let Some(item) = document.paths.paths.get(path) {
                document.paths.paths.insert(alias.into(), item.clone());
            }
        }
        for (path, item) in &mut document.paths.paths {
            let is_alias = ALIASES.iter().any(|(_, alias)| alias == path);
            for operation in operations_of(item) {
                complete(path, is_alias, operation);
            }
        }
    }
}

fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, head, .. } = item;
    [get, put, post, delete, head].into_iter().flatten()
}

/// Adds to an operation what holds for all.
fn complete(path: &str, is_alias: bool, operation: &mut Operation) {
    if operation.description.is_none() {
        operation.description.clone_from(&operation.summary);
    }
    let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
    let name = operation.operation_id.clone().unwrap_or_default();
    let version = if is_alias { "_v1" } else { "" };
    operation.operation_id = Some(format!("{}_{name}{version}", tag.to_lowercase().replace(' ', "_")));
    let segments = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let described = segments.map(|name| {
        let meaning = SEGMENTS.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning);
        parameter(name, ParameterIn::Path, Required::True, meaning.unwrap_or_default()).into()
    });
    let parameters = operation.parameters.get_or_insert_default();
    parameters.splice(0..0, described);
}

fn parameter(name: &str, place: ParameterIn, required: Required, description: &str) -> Parameter {
    let text = Object::with_type(Type::String);
    let built = ParameterBuilder::new().name(name).parameter_in(place).required(required);
    built.description(Some(description)).schema(Some(text)).build()
}

fn in_query(parameters: &[(&str, &str)]) -> Vec<Parameter> {
    let optional =
        |(name, description): &(&str, &str)| parameter(name, ParameterIn::Query, Required::False, description);
    parameters.iter().map(optional).collect()
}

/// The page of a list with cursors.
pub(super) enum Pages {}

impl IntoParams for Pages {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        in_query(&[
            (
                "page[size]",
                "Items on a page, 1 to 100; default 25. A page has fewer, or none, where very much meets each of several \
                 conditions and hardly anything all of them: its `next` goes on",
            ),
            ("page[after]", "The `next` of a page: show the one after it"),
            ("page[before]", "The `previous` of a page: show the one before it"),
        ])
    }
}

/// The page of a list that is counted.
pub(super) enum NumberedPages {}

impl IntoParams for NumberedPages {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        in_query(&[("page", "The page, from 1"), ("perPage", "Items on a page, 100 at most; default 25")])
    }
}

/// Of what time numbers are.
pub(super) enum Period {}

impl IntoParams for Period {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        in_query(&[(
            "period",
            "The time until now, such as `1h`, `24h` or `7d`; default `24h`, at most `90d`. Up to `6h` by minutes, else by hours",
        )])
    }
}

/// When something was made.
const CREATED: [(&str, &str); 3] = [
    ("filter[createdAt][from]", "Only what was made from then on: a date, or milliseconds since 1970"),
    ("filter[createdAt][to]", "Only what was made until then"),
    ("filter[createdAt][period]", "Only what was made in this time until now, such as `24h`"),
];

/// Which runs a list shows.
pub(super) enum RunConditions {}

impl IntoParams for RunConditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = in_query(&[
            ("filter[status]", "Statuses as in `RunStatus`, separated by commas"),
            ("filter[taskIdentifier]", "Tasks, separated by commas"),
            ("filter[version]", "Versions such as `20261121.3`, separated by commas"),
            ("filter[tag]", "Tags, separated by commas: runs that have any of them"),
            ("filter[queue]", "Queues by name, separated by commas; a task's own is `task/<id>`"),
            ("filter[machine]", "Machine presets, separated by commas"),
            ("filter[region]", "Taken and ignored: there is one region"),
            ("filter[batch]", "The runs of the items of this batch, `batch_…`, made for it or found by a key"),
            ("filter[schedule]", "What this schedule fired: `sched_…`"),
            ("filter[bulkAction]", "What this bulk action made: `bulk_…`"),
            ("filter[error]", "Groups of errors, by their fingerprints, separated by commas"),
            ("filter[isTest]", "`true`: only tests. `false`: none"),
            ("filter[isReplay]", "`true`: only replays, and the runs that they have triggered. `false`: none of them"),
            ("filter[replayedFrom]", "The replays of this run: `run_…`"),
        ]);
        parameters.extend(in_query(&CREATED));
        parameters
    }
}

/// Which wait tokens a list shows.
pub(super) enum WaitpointConditions {}

impl IntoParams for WaitpointConditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = in_query(&[
            ("filter[status]", "`WAITING`, `COMPLETED` and `TIMED_OUT`, separated by commas"),
            ("filter[idempotencyKey]", "The token that was made with this key"),
            ("filter[tags]", "Tags, separated by commas: tokens that have any of them"),
        ]);
        parameters.extend(in_query(&CREATED));
        parameters
    }
}

/// Where the reader of a feed is.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the handlers read it from the query themselves")]
pub(super) struct ShapePlace {
    /// Where the reader is: `-1` in the beginning, then the `electric-offset` of the last answer
    offset: Option<String>,
    /// The `electric-handle` of the last answer
    handle: Option<String>,
    /// Whether to hold the request, for 20 seconds at most, until something changes
    live: Option<bool>,
    /// Columns to leave out, separated by commas
    #[param(rename = "skipColumns")]
    skip_columns: Option<String>,
}

/// Where the reader of a stream is.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handlers read it from the headers themselves")]
pub(super) struct StreamPlace {
    /// The id of the last event that the reader has
    #[param(rename = "last-event-id")]
    last_event_id: Option<String>,
    /// `latest`: only what comes from now on
    #[param(rename = "x-trigger-stream-start")]
    start: Option<String>,
    /// After how many quiet seconds the answer ends: 1 to 600, default 60
    #[param(rename = "timeout-seconds")]
    timeout_seconds: Option<u32>,
}

/// What the reader of a feed is answered.
pub(super) enum ShapeAnswers {}

impl IntoResponses for ShapeAnswers {
    fn responses() -> Responses {
        let answer = |description| {
            let messages = ArrayBuilder::new().items(Ref::from_schema_name("ShapeMessage"));
            let messages = ContentBuilder::new().schema(Some(messages)).build();
            ResponseBuilder::new().description(description).content("application/json", messages)
        };
        let header = |description| {
            let text = HeaderBuilder::new().schema(Some(Object::with_type(Type::String)));
            text.description(Some(description)).build()
        };
        let news = answer("What is new")
            .header("electric-handle", header("To be sent back as `handle`"))
            .header("electric-offset", header("To be sent back as `offset`"));
        let gone = answer("The position means nothing any more: begin again");
        BTreeMap::from([("200".into(), news.build().into()), ("409".into(), gone.build().into())])
    }
}

/// Answers in the place of what was asked for.
const READ_ERRORS: [(u16, &str); 7] = [
    (400, "A parameter is unknown or not good"),
    (401, "There is no good key"),
    (403, "The key or token does not open this"),
    (404, "It does not exist"),
    (429, "Too much at a time: try again later"),
    (500, "Something went wrong; the server's log says what"),
    (503, "The server is overloaded, or shutting down: try again"),
];

/// What a change can be answered with beside them. Nothing has changed then.
const CHANGE_ERRORS: [(u16, &str); 5] = [
    (408, "The body has not arrived in time"),
    (409, "Somebody else has changed it, or it is over"),
    (413, "The body, or a part of it, is too large"),
    (415, "The content type is not offered"),
    (422, "The request is understood and cannot be done"),
];

/// How reading can fail.
pub(super) enum ReadErrors {}

/// How a change can fail.
pub(super) enum ChangeErrors {}

/// How reading a head can fail: nobody is told why.
pub(super) enum HeadErrors {}

type Responses = BTreeMap<String, RefOr<openapi::Response>>;

impl IntoResponses for ReadErrors {
    fn responses() -> Responses {
        READ_ERRORS.into_iter().map(error).collect()
    }
}

impl IntoResponses for ChangeErrors {
    fn responses() -> Responses {
        READ_ERRORS.into_iter().chain(CHANGE_ERRORS).map(error).collect()
    }
}

impl IntoResponses for HeadErrors {
    fn responses() -> Responses {
        let response = |description| ResponseBuilder::new().description(description).build();
        READ_ERRORS.into_iter().map(|(status, text)| (status.to_string(), response(text).into())).collect()
    }
}

fn error((status, description): (u16, &str)) -> (String, RefOr<openapi::Response>) {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    let response = ResponseBuilder::new().description(description).content("application/json", body);
    (status.to_string(), response.build().into())
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document = serde_json::to_value(Document::openapi()).expect("texts and numbers can be written as JSON");
    allow_nulls_where_they_are_taken(&mut document);
    document.to_string()
});

/// An `Option` may be `null`: that is right for the fields of what is sent here. What only answers
/// have is left out where it has no value, as are parameters and bodies.
fn allow_nulls_where_they_are_taken(document: &mut Value) {
    let mut taken = BTreeSet::new();
    for operation in every_operation(&document["paths"]) {
        names_within(&operation["requestBody"], document, &mut taken);
    }
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in paths.flat_map(|item| item.as_object_mut().into_iter().flat_map(|item| item.values_mut())) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten();
        parameters.for_each(|parameter| drop_null(&mut parameter["schema"]));
        if let Some(schema) = operation.pointer_mut("/requestBody/content/application~1json/schema") {
            drop_null(schema);
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.iter_mut().filter(|(name, _)| !taken.contains(*name)).for_each(|(_, schema)| forbid_nulls(schema));
    }
}

fn every_operation(paths: &Value) -> impl Iterator<Item = &Value> {
    let items = paths.as_object().into_iter().flat_map(|paths| paths.values());
    items.flat_map(|item| item.as_object().into_iter().flat_map(|item| item.values()))
}

/// Takes `null` from the types of a value.
fn drop_null(schema: &mut Value) {
    for kinds in ["type", "oneOf"] {
        if let Some(Value::Array(kinds)) = schema.get_mut(kinds) {
            kinds.retain(|kind| kind != "null" && kind["type"] != "null");
        }
    }
}

/// The shapes that a part of the document is made of.
fn names_within(part: &Value, document: &Value, names: &mut BTreeSet<String>) {
    match part {
        Value::Array(items) => items.iter().for_each(|item| names_within(item, document, names)),
        Value::Object(object) => object.values().for_each(|item| names_within(item, document, names)),
        Value::String(text) => {
            if let Some(name) = text.strip_prefix("#/components/schemas/")
                && names.insert(name.into())
            {
                names_within(&document["components"]["schemas"][name], document, names);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Takes `null` from the fields that may be left out.
fn forbid_nulls(schema: &mut Value) {
    let required = schema["required"].clone();
    let is_required = |name: &str| required.as_array().is_some_and(|names| names.iter().any(|other| other == name));
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (_, property) in properties.iter_mut().filter(|(name, _)| !is_required(name)) {
            drop_null(property);
        }
    }
    for parts in ["allOf", "oneOf", "anyOf"] {
        schema.get_mut(parts).and_then(Value::as_array_mut).into_iter().flatten().for_each(forbid_nulls);
    }
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Health", security(()),
    responses((status = 200, body = Value, description = "An OpenAPI 3.1 document")),
)]
pub(super) async fn document() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], DOCUMENT.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::super::list;
    use super::*;

    #[test]
    fn the_list_of_runs_takes_what_is_documented() {
        let mut documented: Vec<String> = Pages::into_params(|| None).into_iter().map(|page| page.name).collect();
        documented.extend(RunConditions::into_params(|| None).into_iter().map(|condition| condition.name));
        documented.sort();
        let mut known = list::KNOWN.to_vec();
        known.sort_unstable();
        assert_eq!(documented, known);
    }
}
