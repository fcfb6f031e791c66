//! The OpenAPI document, as it is served: whole, true to the table of routes, and good to read.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::harness::TestApp;

/// What an operation can be; the other keys of a path are not operations.
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "head"];

/// The document as somebody without a key gets it.
async fn document() -> Value {
    let mut app = TestApp::start().await;
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let response = app.app().router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/json");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    app.stop().await;
    serde_json::from_slice(&bytes).unwrap()
}

/// Every operation with its method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{path} has {method}");
            operations.push((format!("{} {path}", method.to_uppercase()), operation));
        }
    }
    operations
}

/// The operations that the table of routes has.
fn routes() -> BTreeSet<String> {
    let table = include_str!("../../runtime/src/http/routes.rs");
    let mut routes = BTreeSet::new();
    for route in table.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        // What follows the last route of a function are layers and other functions.
        let handlers = route[route.find(path).unwrap() + path.len()..].split(".layer(").next().unwrap();
        let handlers = handlers.split("\n}\n").next().unwrap();
        for method in METHODS {
            if handlers.contains(&format!("{method}(")) {
                routes.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    routes
}

/// Calls `visit` with every value within.
fn walk(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(object) => object.values().for_each(|item| walk(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn every_route_is_in_the_document_and_nothing_else() {
    let document = document().await;
    let documented: BTreeSet<String> = operations(&document).into_iter().map(|(name, _)| name).collect();
    let routes = routes();
    assert!(routes.len() > 70, "the table of routes is not where this test looks for it: {routes:#?}");
    let missing: Vec<_> = routes.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&routes).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}, without a route: {unknown:#?}");
    insta::assert_snapshot!(Vec::from_iter(documented).join("\n"));
}

#[tokio::test]
async fn the_document_is_whole() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = 0;
    walk(&document, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            references += 1;
            let place = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads elsewhere"));
            assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
        }
    });
    assert!(references > 100, "only {references} references");
    let schemes = &document["components"]["securitySchemes"];
    let mut names = BTreeSet::new();
    for (name, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{name}: its id is not its own");
        for requirement in operation["security"].as_array().into_iter().flatten() {
            for scheme in requirement.as_object().unwrap().keys() {
                assert!(schemes.get(scheme).is_some(), "{name}: there is no scheme {scheme}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_is_a_manual() {
    let document = document().await;
    let has_text = |value: &Value| value["description"].as_str().is_some_and(|text| text.len() > 3);
    for (name, operation) in operations(&document) {
        assert!(has_text(operation), "{name} has no description");
        assert!(operation["tags"][0].is_string(), "{name} has no tag");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name} never succeeds");
        for (status, response) in responses {
            assert!(has_text(response), "{name} does not say what {status} means");
        }
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut described = BTreeSet::new();
        for parameter in parameters {
            assert!(has_text(parameter), "{name}: {} has no description", parameter["name"]);
            let place = (parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
            assert!(described.insert(place), "{name}: {place:?} is there twice");
        }
        for segment in name.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            assert!(described.contains(&("path", segment)), "{name}: {segment} is not described");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let is_made_of_others = name.contains('_');
        assert!(has_text(schema) || is_made_of_others, "{name} has no description");
        let text = schema.to_string();
        assert!(!text.contains("[`"), "{name} links to Rust: {text}");
    }
}
