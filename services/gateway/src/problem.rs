//! The one place where an error becomes an HTTP answer: problem+json (RFC 9457) with `code`, `detail`, `hint`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use orrery_log::LogError;

/// Every code that the API answers with, and its status. Clients go by the code.
pub const CODES: &[(&str, StatusCode)] = &[
    ("invalid", StatusCode::UNPROCESSABLE_ENTITY),
    ("malformed", StatusCode::BAD_REQUEST),
    ("unauthorized", StatusCode::UNAUTHORIZED),
    ("foreign_host", StatusCode::FORBIDDEN),
    ("foreign_origin", StatusCode::FORBIDDEN),
    ("reserved_topic", StatusCode::FORBIDDEN),
    ("not_found", StatusCode::NOT_FOUND),
    ("no_such_route", StatusCode::NOT_FOUND),
    ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
    ("too_slow", StatusCode::REQUEST_TIMEOUT),
    ("conflict", StatusCode::CONFLICT),
    ("gone", StatusCode::GONE),
    ("too_large", StatusCode::PAYLOAD_TOO_LARGE),
    ("encoded", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ("range", StatusCode::RANGE_NOT_SATISFIABLE),
    ("too_many", StatusCode::TOO_MANY_REQUESTS),
    ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
    ("internal", StatusCode::INTERNAL_SERVER_ERROR),
];

/// A refusal.
#[derive(Debug, Clone)]
pub struct Problem {
    code: &'static str,
    detail: String,
    hint: Option<String>,
}

/// What handlers return.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem of this code; an unknown code is `internal`.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        let known = CODES.iter().map(|(known, _)| *known).find(|known| *known == code);
        Self { code: known.unwrap_or("internal"), detail: detail.into(), hint: None }
    }

    /// With what to do.
    pub fn hint(self, hint: impl Into<Option<String>>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// With what to do, as a constant.
    pub fn try_this(self, hint: &str) -> Self {
        self.hint(Some(hint.to_owned()))
    }

    fn status(&self) -> StatusCode {
        CODES.iter().find(|(code, _)| *code == self.code).map_or(StatusCode::INTERNAL_SERVER_ERROR, |(_, status)| *status)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or_default();
        let mut body = serde_json::json!({
            "type": "about:blank", "title": title, "status": status.as_u16(), "code": self.code, "detail": self.detail,
        });
        if let Some(hint) = self.hint {
            body["hint"] = hint.into();
        }
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.code {
            "unauthorized" => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            "too_many" | "unavailable" => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => {}
        }
        response
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        let code = match &error {
            LogError::NoSuchPartition { .. } => "not_found",
            LogError::TooLarge { .. } | LogError::CommitTooLarge { .. } => "too_large",
            LogError::BadTopic { .. } => "invalid",
            LogError::OutOfRange { .. } => "gone",
            _ => "unavailable",
        };
        Self::new(code, error.to_string())
    }
}

impl From<orrery_audit::AuditError> for Problem {
    fn from(error: orrery_audit::AuditError) -> Self {
        let code = if matches!(error, orrery_audit::AuditError::NoSuchService(_)) { "not_found" } else { "internal" };
        Self::new(code, error.to_string())
    }
}

impl From<orrery_model::id::IdError> for Problem {
    fn from(error: orrery_model::id::IdError) -> Self {
        Self::new("invalid", error.to_string())
    }
}

impl From<tokio::task::JoinError> for Problem {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::new("internal", format!("a request's work ended early: {error}"))
    }
}
