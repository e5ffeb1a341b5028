//! What a caller is told when a request cannot be answered: RFC 9457 problem documents, from one exhaustive table.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A parameter that the question does not have.
    UnknownParameter,
    /// A value that a parameter cannot have.
    InvalidParameter,
    /// Nobody knows who asks: a credential is missing, or is none any more.
    Unauthorized,
    /// Who asks may not do this.
    Forbidden,
    /// More was asked for than a caller, its tenant or its address may.
    TooManyRequests,
    /// More was sent than a tenant may.
    OverQuota,
    /// A question that rollups cannot answer; an export can.
    NotInRollups,
    /// Nothing is there.
    NotFound,
    /// The method is not for this place.
    MethodNotAllowed,
    /// The export is larger than what is streamed, or than what there is memory for.
    ExportTooLarge,
    /// The head of the request is larger than what is read.
    HeadTooLarge,
    /// The body is larger than what is taken.
    PayloadTooLarge,
    /// What is there stands against it.
    Conflict,
    /// What was there has been taken away for good.
    Gone,
    /// The body is of a type or an encoding that is not read.
    UnsupportedMediaType,
    /// The body is not what its type says.
    MalformedBody,
    /// Every record of the body was refused.
    AllRefused,
    /// The log does not take clicks now.
    LogUnavailable,
    /// The service has not caught up yet.
    NotReady,
    /// Everyone together asks for more than is done in time.
    TooBusy,
    /// Something that is our fault.
    Internal,
}

impl ProblemKind {
    /// The one map from kinds to name, status and title.
    fn describe(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::UnknownParameter => ("unknown-parameter", StatusCode::BAD_REQUEST, "Unknown parameter"),
            Self::InvalidParameter => ("invalid-parameter", StatusCode::BAD_REQUEST, "Invalid parameter"),
            Self::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "Forbidden"),
            Self::TooManyRequests => ("too-many-requests", StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Self::OverQuota => ("over-quota", StatusCode::TOO_MANY_REQUESTS, "Over the quota"),
            Self::NotInRollups => ("not-in-rollups", StatusCode::UNPROCESSABLE_ENTITY, "Not in the rollups"),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "Not found"),
            Self::Conflict => ("conflict", StatusCode::CONFLICT, "Conflict"),
            Self::Gone => ("gone", StatusCode::GONE, "Gone"),
            Self::MethodNotAllowed => ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::HeadTooLarge => {
                ("head-too-large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Head of the request too large")
            }
            Self::PayloadTooLarge => ("payload-too-large", StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"),
            Self::ExportTooLarge => ("export-too-large", StatusCode::UNPROCESSABLE_ENTITY, "Export too large"),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type")
            }
            Self::MalformedBody => ("malformed-body", StatusCode::BAD_REQUEST, "Malformed body"),
            Self::AllRefused => ("all-refused", StatusCode::UNPROCESSABLE_ENTITY, "Every record was refused"),
            Self::LogUnavailable => ("log-unavailable", StatusCode::SERVICE_UNAVAILABLE, "The log takes no clicks now"),
            Self::NotReady => ("not-ready", StatusCode::SERVICE_UNAVAILABLE, "Not ready"),
            Self::TooBusy => ("too-busy", StatusCode::SERVICE_UNAVAILABLE, "Too busy"),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }
}

/// A problem document.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    more: Map<String, Value>,
    retry_after: Option<u32>,
    challenge: Option<&'static str>,
}

impl Problem {
    /// A problem with what is wrong and what to do, in words.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), more: Map::new(), retry_after: None, challenge: None }
    }

    /// A value that `parameter` cannot have, and what it can.
    #[must_use]
    pub fn parameter(parameter: &str, value: &str, detail: impl Into<String>) -> Self {
        let value: String = value.chars().take(100).collect();
        Self::new(ProblemKind::InvalidParameter, detail).with("parameter", json!(parameter)).with("value", json!(value))
    }

    /// The same with a member more.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// The same, of one part of what was asked.
    #[must_use]
    pub fn within(mut self, part: &str) -> Self {
        self.detail = format!("{part}: {}", self.detail);
        self
    }

    /// The same with the seconds after which trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// What is wrong and what to do, in words.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The same with what `WWW-Authenticate` says of the credential that is wanted.
    #[must_use]
    pub fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (name, status, title) = self.kind.describe();
        let mut body = Map::from_iter([
            ("type".to_owned(), json!(format!("/problems/{name}"))),
            ("title".to_owned(), json!(title)),
            ("status".to_owned(), json!(status.as_u16())),
            ("detail".to_owned(), json!(self.detail)),
        ]);
        body.extend(self.more);
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
