//! The document of the API, made of its code: in OpenAPI for programs, and as a page for people.

use std::fmt::Write as _;

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

/// What stands before the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fanfare",
        description = "What a backend asks of the broker, on the internal port of any node. Errors have a \
                       real status, and are retried where `retry` says so; a message with a key is accepted \
                       once, however often it is sent.",
    ),
    tags(
        (name = "messages", description = "Publishing into rooms, and what they keep"),
        (name = "rooms", description = "Which rooms and nodes there are, and who is where"),
        (name = "users", description = "Users and their connections"),
    ),
    security(("key" = [])),
)]
struct Head;

/// What stands before the paths.
pub(super) fn head() -> utoipa::openapi::OpenApi {
    let mut head = Head::openapi();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = head.components.get_or_insert_default();
    components.add_security_scheme("key", scheme);
    head
}

/// `/openapi.json` and `/docs/api`, which need no key.
pub(super) fn router<S: Clone + Send + Sync + 'static>(
    document: &utoipa::openapi::OpenApi,
) -> Router<S> {
    let json = serde_json::to_value(document).unwrap_or_default();
    let text = json.to_string();
    let page = page(&json);
    Router::new()
        .route(
            "/openapi.json",
            get(async move || of_type("application/json", text)),
        )
        .route(
            "/docs/api",
            get(async move || of_type("text/html; charset=utf-8", page)),
        )
}

fn of_type(kind: &'static str, text: String) -> axum::response::Response {
    let policy = HeaderName::from_static("content-security-policy");
    let allowed = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, kind),
        (policy, allowed),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

const STYLE: &str = include_str!("document.css");

/// The page: without a script, and nothing from elsewhere.
fn page(document: &Value) -> String {
    let mut page = String::from("<!doctype html><html lang=en><meta charset=utf-8>");
    page.push_str(
        "<meta name=viewport content=\"width=device-width\"><title>Fanfare: the HTTP API</title>",
    );
    let _ = write!(
        page,
        "<style>{STYLE}</style><main><h1>The HTTP API</h1><p>{}</p>",
        text(&document["info"]["description"])
    );
    page.push_str("<p>Each call needs <code>Authorization: Bearer KEY</code>. For programs: <a href=\"/openapi.json\">openapi.json</a>.</p>");
    let calls = calls(document);
    for tag in document["tags"].as_array().into_iter().flatten() {
        let _ = write!(page, "<h2>{}</h2>", text(&tag["description"]));
        for (method, path, call) in &calls {
            if call["tags"][0] == tag["name"] {
                describe(&mut page, document, method, path, call);
            }
        }
    }
    page.push_str("</main></html>\n");
    page
}

/// Every call of the document: method, path, and what it says.
fn calls(document: &Value) -> Vec<(String, String, &Value)> {
    let mut calls = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, call) in methods.as_object().into_iter().flatten() {
            calls.push((method.to_uppercase(), path.clone(), call));
        }
    }
    calls
}

fn describe(page: &mut String, document: &Value, method: &str, path: &str, call: &Value) {
    let _ = write!(
        page,
        "<details><summary><code><b>{method}</b> {}</code> {}</summary><p>{}</p>",
        escape(path),
        text(&call["summary"]),
        text(&call["description"]),
    );
    let mut rows = String::new();
    for parameter in call["parameters"].as_array().into_iter().flatten() {
        let place = text(&parameter["in"]);
        row(
            &mut rows,
            &text(&parameter["name"]),
            &place,
            &parameter["schema"],
            &parameter["description"],
        );
    }
    let body = &call["requestBody"]["content"]["application/json"]["schema"];
    fields(&mut rows, document, body, "body");
    if !rows.is_empty() {
        let _ = write!(page, "<table><tr><th>given<th>in<th>type<th>{rows}</table>");
    }
    let mut rows = String::new();
    let answer = &call["responses"]["200"]["content"]["application/json"]["schema"];
    fields(&mut rows, document, answer, "answer");
    if !rows.is_empty() {
        let _ = write!(
            page,
            "<table><tr><th>answered<th><th>type<th>{rows}</table>"
        );
    }
    page.push_str("</details>");
}

/// The fields of an object, wherever its schema is.
fn fields(rows: &mut String, document: &Value, schema: &Value, place: &str) {
    let schema = resolved(document, schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fields(rows, document, part, place);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        row(
            rows,
            &escape(name),
            place,
            field,
            &resolved(document, field)["description"],
        );
    }
}

fn row(rows: &mut String, name: &str, place: &str, schema: &Value, description: &Value) {
    let kind = kind(schema);
    let _ = write!(
        rows,
        "<tr><td><code>{name}</code><td>{place}<td>{kind}<td>{}",
        text(description)
    );
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let Some(path) = schema["$ref"].as_str() else {
        return schema;
    };
    document
        .pointer(path.trim_start_matches('#'))
        .unwrap_or(schema)
}

/// The type that a schema names, in a word.
fn kind(schema: &Value) -> String {
    if let Some(path) = schema["$ref"].as_str() {
        return escape(path.rsplit('/').next().unwrap_or_default());
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", kind_of_items(schema)),
        Value::String(kind) => escape(kind),
        Value::Array(kinds) => {
            let mut kinds = kinds
                .iter()
                .filter_map(Value::as_str)
                .filter(|kind| *kind != "null");
            escape(kinds.next().unwrap_or_default())
        }
        _ => "any".to_owned(),
    }
}

fn kind_of_items(schema: &Value) -> String {
    kind(&schema["items"])
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// Text in HTML, with what stands between backticks as code.
fn escape(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let mut escaped = String::with_capacity(text.len());
    for (number, part) in text.split('`').enumerate() {
        escaped.push_str(match number {
            0 => "",
            odd if odd % 2 == 1 => "<code>",
            _ => "</code>",
        });
        escaped.push_str(part);
    }
    escaped
}
