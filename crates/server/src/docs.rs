//! `/openapi.json`, and `/docs`: the same as a page, without any third party's help.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::Value;

use crate::problem::Kind;
use crate::secrets::sha256;

/// The OpenAPI 3.1 document, written by hand; a test compares it with the router.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

const STYLE: &str = "body{font:16px/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1e21}\
h1,h2{line-height:1.2}h2{margin-top:3rem;border-bottom:1px solid #ccd}code,pre{font:14px/1.5 ui-monospace,monospace}\
pre{background:#f4f5f8;padding:1rem;overflow:auto}.m{display:inline-block;min-width:4rem;font-weight:700;color:#0b5cad}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #e3e5ea}\
nav a{display:block}section{margin:1.5rem 0}details{margin:.5rem 0}";

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(OPENAPI).unwrap_or_default());
static PAGE: LazyLock<String> = LazyLock::new(|| render(&DOCUMENT));
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; frame-ancestors 'none'",
        STANDARD.encode(sha256(STYLE.as_bytes()))
    )
});

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// `GET /docs`
pub(crate) async fn page() -> Response {
    (
        [(CONTENT_SECURITY_POLICY, POLICY.as_str())],
        Html(PAGE.as_str()),
    )
        .into_response()
}

fn render(document: &Value) -> String {
    let mut page = String::with_capacity(128 * 1024);
    let title = escaped(text(&document["info"]["title"]));
    write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}: API</title>\
         <style>{STYLE}</style><h1>{title}: API</h1><p>{}</p><p>The same for programs: <a href='/openapi.json'>/openapi.json</a>.</p>",
        escaped(text(&document["info"]["description"]))
    )
    .ok();
    for tag in elements(&document["tags"]) {
        let name = text(&tag["name"]);
        write!(page, "<h2>{}</h2>", escaped(name)).ok();
        if !tag["description"].is_null() {
            write!(page, "<p>{}</p>", escaped(text(&tag["description"]))).ok();
        }
        for (path, methods) in members(&document["paths"]) {
            for (method, operation) in members(methods) {
                if elements(&operation["tags"]).any(|tag| text(tag) == name) {
                    render_operation(&mut page, path, method, operation);
                }
            }
        }
    }
    page.push_str("<h2>Schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        write!(page, "<section id='schema-{0}'><h3>{0}</h3>", escaped(name)).ok();
        render_schema(&mut page, schema);
        page.push_str("</section>");
    }
    page.push_str("<h2>Problems</h2><table><tr><th>code<th>status<th>title");
    for kind in Kind::ALL {
        write!(
            page,
            "<tr id='problem-{0}'><td><code>{0}</code><td>{1}<td>{2}",
            kind.code(),
            kind.status().as_u16(),
            escaped(kind.title())
        )
        .ok();
    }
    page.push_str("</table></html>\n");
    page
}

fn render_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    write!(
        page,
        "<section id='{}'><h3><span class=m>{}</span> <code>{}</code></h3><p>{}. {}</p>",
        escaped(text(&operation["operationId"])),
        method.to_uppercase(),
        escaped(path),
        escaped(text(&operation["summary"])),
        escaped(text(&operation["description"]))
    )
    .ok();
    if operation["parameters"].is_array() {
        page.push_str("<table><tr><th>parameter<th>in<th>");
        for parameter in elements(&operation["parameters"]) {
            let parameter = resolved(parameter);
            let [name, place, about] =
                ["name", "in", "description"].map(|member| escaped(text(&parameter[member])));
            write!(page, "<tr><td><code>{name}</code><td>{place}<td>{about}").ok();
        }
        page.push_str("</table>");
    }
    for (kind, content) in members(&operation["requestBody"]["content"]) {
        write!(
            page,
            "<details><summary>body: <code>{}</code></summary>",
            escaped(kind)
        )
        .ok();
        render_schema(page, &content["schema"]);
        page.push_str("</details>");
    }
    page.push_str("<table><tr><th>answer<th>");
    for (status, response) in members(&operation["responses"]) {
        let response = resolved(response);
        write!(
            page,
            "<tr><td><code>{}</code><td>{}",
            escaped(status),
            escaped(text(&response["description"]))
        )
        .ok();
        for (_, content) in members(&response["content"]) {
            if let Some(name) = schema_name(&content["schema"]) {
                write!(page, " <a href='#schema-{0}'>{0}</a>", escaped(name)).ok();
            }
        }
    }
    page.push_str("</table></section>");
}

fn render_schema(page: &mut String, schema: &Value) {
    if let Some(name) = schema_name(schema) {
        write!(page, "<p><a href='#schema-{0}'>{0}</a></p>", escaped(name)).ok();
        return;
    }
    if !schema["description"].is_null() {
        write!(page, "<p>{}</p>", escaped(text(&schema["description"]))).ok();
    }
    for part in elements(&schema["allOf"]) {
        render_schema(page, part);
    }
    if schema["properties"].is_null() {
        return;
    }
    page.push_str("<table><tr><th>member<th>type<th>");
    for (name, member) in members(&schema["properties"]) {
        let required = elements(&schema["required"]).any(|needed| text(needed) == name);
        write!(
            page,
            "<tr><td><code>{}</code>{}<td>",
            escaped(name),
            if required { " *" } else { "" }
        )
        .ok();
        let target = if member["items"].is_object() {
            &member["items"]
        } else {
            member
        };
        match schema_name(target) {
            Some(name) => write!(page, "<a href='#schema-{0}'>{0}</a>", escaped(name)).ok(),
            None => write!(page, "{}", escaped(text(&member["type"]))).ok(),
        };
        write!(page, "<td>{}", escaped(text(&member["description"]))).ok();
        if member["enum"].is_array() {
            let words: Vec<&str> = elements(&member["enum"]).map(text).collect();
            write!(page, " One of <code>{}</code>.", escaped(&words.join(", "))).ok();
        }
        for (limit, words) in [
            ("maxLength", "characters at most"),
            ("maximum", "at most"),
            ("maxItems", "elements at most"),
        ] {
            if member[limit].is_number() {
                write!(page, " {} {words}.", member[limit]).ok();
            }
        }
    }
    page.push_str("</table>");
}

/// What a `$ref` points to.
fn resolved(value: &Value) -> &Value {
    match value["$ref"]
        .as_str()
        .and_then(|reference| DOCUMENT.pointer(reference.trim_start_matches('#')))
    {
        Some(target) => target,
        None => value,
    }
}

fn schema_name(schema: &Value) -> Option<&str> {
    schema["$ref"]
        .as_str()?
        .strip_prefix("#/components/schemas/")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::router;

    #[test]
    fn the_document_describes_exactly_the_routes_there_are() {
        let routed: BTreeSet<String> = router::api()
            .iter()
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        let described = members(&DOCUMENT["paths"]);
        let described: BTreeSet<String> = described
            .flat_map(|(path, methods)| {
                members(methods).map(move |(method, _)| format!("{method} {path}"))
            })
            .collect();
        assert_eq!(routed, described);
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        fn walk(value: &Value) {
            if let Some(reference) = value["$ref"].as_str() {
                assert!(
                    DOCUMENT
                        .pointer(reference.trim_start_matches('#'))
                        .is_some(),
                    "{reference}"
                );
            }
            elements(value).for_each(walk);
            members(value).for_each(|(_, value)| walk(value));
        }
        walk(&DOCUMENT);
    }

    #[test]
    fn the_page_names_every_operation_and_problem() {
        for (path, methods) in members(&DOCUMENT["paths"]) {
            assert!(PAGE.contains(&escaped(path)), "{path}");
            for (_, operation) in members(methods) {
                assert!(PAGE.contains(text(&operation["operationId"])));
            }
        }
        for kind in Kind::ALL {
            assert!(PAGE.contains(&format!("id='problem-{}'", kind.code())));
        }
    }
}
