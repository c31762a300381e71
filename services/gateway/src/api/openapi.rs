//! The OpenAPI document, made from the table of routes.

use super::ROUTES;
use crate::guard::OPEN;
use crate::problem::CODES;
use axum::Json;
use serde_json::{Map, Value, json};

pub(super) async fn document() -> Json<Value> {
    Json(build())
}

fn build() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let mut parameters: Vec<Value> =
            in_path.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})).collect();
        parameters.extend(
            route
                .query
                .iter()
                .map(|(name, meaning)| json!({"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}})),
        );
        let operation = json!({
            "summary": route.summary,
            "parameters": parameters,
            "security": if OPEN.contains(&route.path) { json!([]) } else { json!([{"bearer": []}]) },
            "responses": {"2XX": {"description": "as said"}, "default": {"$ref": "#/components/responses/Problem"}},
        });
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    let codes: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Orrery", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": {"description": "A refusal (RFC 9457)", "content": {"application/problem+json": {"schema": {
                "type": "object", "required": ["code", "detail", "status"],
                "properties": {
                    "status": {"type": "integer"}, "code": {"enum": codes}, "detail": {"type": "string"}, "hint": {"type": "string"},
                },
            }}}}},
        },
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_route_is_documented() {
        let document = super::build();
        for route in super::ROUTES {
            assert_eq!(document["paths"][route.path][route.method]["summary"], route.summary);
        }
    }
}
