//! Speaks to the server over HTTP.

use super::exit;
use serde_json::Value;
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body};

/// Longer than the server waits for a decision, or for a run's end within one request.
const TIMEOUT: Duration = Duration::from_secs(75);

/// A client of one server.
pub(crate) struct Client {
    base: String,
    token: String,
    principal: Option<String>,
    agent: Agent,
}

/// The server said no, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{detail}{}", hint.as_ref().map_or_else(String::new, |hint| format!("\n  → {hint}")))]
pub(crate) struct Refusal {
    pub code: String,
    pub detail: String,
    pub hint: Option<String>,
}

impl Refusal {
    /// The exit status that scripts go by.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.code.as_str() {
            "not_found" => exit::NOT_FOUND,
            "conflict" => exit::CONFLICT,
            _ => exit::ERROR,
        }
    }
}

/// A piece of output.
pub(crate) struct Piece<B> {
    /// Position of its first byte.
    pub(crate) from: u64,
    /// Position behind the last byte that there is.
    pub(crate) end: u64,
    pub(crate) body: B,
}

impl Client {
    pub(crate) fn new(url: &str, token: &str, principal: Option<String>) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build();
        Self { base: url.trim_end_matches('/').to_owned(), token: token.to_owned(), principal, agent: config.into() }
    }

    /// Reads JSON.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Refusal> {
        read(self.raw(path, None)?)
    }

    /// Reads a list to its end, page by page.
    pub(crate) fn list(&self, path: &str, parameters: &[(&str, Option<String>)]) -> Result<Value, Refusal> {
        let mut parameters = parameters.to_vec();
        let mut whole = self.get(&format!("{path}{}", query(&parameters)))?;
        while let Some(cursor) = whole["next"].as_str().map(str::to_owned) {
            parameters.retain(|(name, _)| *name != "cursor");
            parameters.push(("cursor", Some(cursor)));
            let mut page = self.get(&format!("{path}{}", query(&parameters)))?;
            if let (Some(all), Some(more)) = (whole["items"].as_array_mut(), page["items"].as_array_mut()) {
                all.append(more);
            }
            whole["next"] = page["next"].take();
        }
        Ok(whole)
    }

    /// Reads a body as it comes, without an end in time.
    pub(crate) fn stream(&self, path: &str, accept: &str) -> Result<impl std::io::Read + use<>, Refusal> {
        let response = self.raw(path, Some(accept))?;
        if response.status().is_success() {
            Ok(response.into_body().into_reader())
        } else {
            Err(read(response).err().unwrap_or_else(silent))
        }
    }

    /// Reads a piece of output.
    pub(crate) fn output(&self, path: &str) -> Result<Piece<impl std::io::Read + use<>>, Refusal> {
        let response = self.raw(path, Some("text/plain"))?;
        if !response.status().is_success() {
            return Err(read(response).err().unwrap_or_else(silent));
        }
        let number = |name| response.headers().get(name).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
        let (from, end) = (number("orrery-log-from"), number("orrery-log-end"));
        Ok(Piece { from, end, body: response.into_body().into_reader() })
    }

    fn raw(&self, path: &str, accept: Option<&str>) -> Result<Response<Body>, Refusal> {
        let mut request = self.agent.get(format!("{}{path}", self.base)).header("authorization", format!("Bearer {}", self.token));
        if let Some(accept) = accept {
            request = request.header("accept", accept).config().timeout_global(None).build();
        }
        request.call().map_err(|error| self.unreachable(&error))
    }

    /// Sends JSON and reads JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.post_bytes(path, body.to_string().as_bytes(), &[("content-type".into(), "application/json".into())])
    }

    /// Sends bytes with headers and reads JSON.
    pub(crate) fn post_bytes(&self, path: &str, body: &[u8], headers: &[(String, String)]) -> Result<Value, Refusal> {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(principal) = &self.principal {
            request = request.header("orrery-principal", principal);
        }
        read(request.send(body).map_err(|error| self.unreachable(&error))?)
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value, Refusal> {
        let mut request = self.agent.delete(format!("{}{path}", self.base)).header("authorization", format!("Bearer {}", self.token));
        if let Some(principal) = &self.principal {
            request = request.header("orrery-principal", principal);
        }
        read(request.call().map_err(|error| self.unreachable(&error))?)
    }

    fn unreachable(&self, error: &ureq::Error) -> Refusal {
        Refusal {
            code: "unreachable".into(),
            detail: format!("{} does not answer: {error}", self.base),
            hint: Some("is it running? Start `orrery standalone`, or name the server with --url or ORRERY_URL".into()),
        }
    }
}

fn silent() -> Refusal {
    Refusal { code: "internal".into(), detail: "the server answered something else than was asked for".into(), hint: None }
}

fn read(mut response: Response<Body>) -> Result<Value, Refusal> {
    let status = response.status();
    let text = response.body_mut().with_config().limit(256 << 20).read_to_string();
    let value: Value = text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    if status.is_success() {
        return Ok(value);
    }
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Err(Refusal {
        code: text("code").unwrap_or_else(|| status.as_u16().to_string()),
        detail: text("detail").unwrap_or_else(|| format!("the server answered {status}")),
        hint: text("hint"),
    })
}

/// A text as one segment of a path, or as a value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A query of those parameters that are set.
pub(crate) fn query(parameters: &[(&str, Option<String>)]) -> String {
    let set = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
    let text = set.collect::<Vec<_>>().join("&");
    if text.is_empty() { text } else { format!("?{text}") }
}

/// The path of a job.
pub(crate) fn job_path(job: &str) -> anyhow::Result<String> {
    let job = orrery_model::id::JobName::with_default_namespace(job)?;
    Ok(format!("/api/v1/jobs/{job}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn queries_are_encoded() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(super::query(&[("job", some("a/b")), ("x", None), ("state", some("a b&c"))]), "?job=a%2Fb&state=a%20b%26c");
        assert_eq!(super::query(&[("x", None)]), "");
    }
}
