//! The document of the HTTP API, and the page made of it.

use serde_json::{Value, json};

use crate::api::{call, get as ask};
use crate::client::{Client, Format, open};
use crate::http::get;
use crate::node::{BACKENDS, Node};
use crate::token::{KEYED, bearer, token};

const KEY: &str = "[api]\nkey = 'backend-key-6b1e0f9d'\n";

#[tokio::test]
async fn the_document_and_the_page_need_no_key_and_have_every_call() {
    let node = Node::with("").await;
    let answer = get(node.internal, "/openapi.json").await;
    assert_eq!(answer.status, 200);
    let document: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    let page = get(node.internal, "/docs/api").await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(
        !page.body.contains("<script") && !page.body.contains("src="),
        "{}",
        page.body
    );
    let paths = document["paths"].as_object().expect("paths");
    let mut calls = 0;
    for (path, methods) in paths {
        assert!(page.body.contains(path.as_str()), "{path}");
        for (method, call) in methods.as_object().expect("methods") {
            calls += 1;
            assert!(
                call["summary"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{method} {path}"
            );
            for status in ["200", "400", "401", "403", "413", "503"] {
                assert!(
                    call["responses"][status].is_object(),
                    "{method} {path}: {status}"
                );
            }
        }
    }
    assert_eq!(calls, 16);
}

/// A path with values in place of its parameters.
fn filled(path: &str) -> String {
    path.replace("{room}", "a")
        .replace("{user}", "ann")
        .replace("{client}", "0000000000000001")
}

#[tokio::test]
async fn every_call_of_the_document_is_there_and_no_other_method() {
    let node = Node::with(KEY).await;
    let (_, document) = ask(&node, "/openapi.json").await;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let methods = methods.as_object().expect("methods");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = call(&node, "backend-key-6b1e0f9d", method, &filled(path), "", "").await;
            let is_there = methods.contains_key(&method.to_lowercase());
            assert_eq!(
                answer.status != 405,
                is_there,
                "{method} {path}: {}",
                answer.body
            );
            assert_ne!(answer.status, 404, "{method} {path}");
        }
    }
    let nothing = call(&node, "backend-key-6b1e0f9d", "GET", "/v1/nothing", "", "").await;
    assert_eq!(nothing.status, 404);
}

#[tokio::test]
async fn a_batch_does_several_things_in_order() {
    for backend in BACKENDS {
        let node = Node::on(backend, &format!("{KEY}{KEYED}")).await;
        let shown = bearer(&token("ann", &json!({"*": ["join"]})));
        let mut ann = Client::welcomed(open(&node, "/ws", &shown).await, Format::Json).await;
        let operations = json!({"operations": [
            {"join": {"user": "ann", "room": "a"}},
            {"publish": {"room": "b", "data": 1}},
            {"publish": {"room": "b", "data": 2, "event": "news"}},
            {"send": {"user": "ann", "data": "for you"}},
            {"send": {"user": "nobody", "data": "for nobody"}},
            {"publish": {"data": "nowhere"}},
            {"leave": {"user": "ann", "room": ""}},
            {"disconnect": {"user": "ann", "room": "a"}},
        ]});
        let answer = call(
            &node,
            "backend-key-6b1e0f9d",
            "POST",
            "/v1/batch",
            "",
            &operations.to_string(),
        )
        .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        let results = answer["results"].as_array().expect("results");
        assert_eq!(results[0], json!({"nodes": 1}));
        assert_eq!(
            (&results[1]["offset"], &results[2]["offset"]),
            (&json!(1), &json!(2))
        );
        assert_eq!(
            results[3..5],
            [json!({"delivered": true}), json!({"delivered": false})]
        );
        for failed in &results[5..8] {
            assert_eq!(failed["error"]["code"], "bad_request", "{failed}");
        }
        let mut seen = Vec::new();
        for _ in 0..2 {
            let event = ann.event().await;
            seen.push(event["type"].as_str().expect("a type").to_owned());
        }
        seen.sort();
        assert_eq!(seen, ["direct", "joined"]);
        let last = json!({"operations": [{"disconnect": {"user": "ann", "reason": "enough"}}]});
        let answer = call(
            &node,
            "backend-key-6b1e0f9d",
            "POST",
            "/v1/batch",
            "",
            &last.to_string(),
        )
        .await;
        assert_eq!(answer.body, r#"{"results":[{"nodes":1}]}"#);
        assert_eq!(ann.expect_closed(4009).await, "enough");
    }
}
