//! What a server's refusals mean, and the way out.
//!
//! Servers answer with a status and a code in XML; a client wraps them in layers of its own words. Here each becomes one
//! line that names the bucket, the server and what to do.

use std::error::Error as StdError;

use object_store::Error;

use super::S3Config;
use crate::error::BatchError;

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NoBucket,
    NoKeys,
    WrongKeys,
    Denied,
    Full,
    Elsewhere,
    Unknown,
    /// It may pass by itself.
    Other,
}

impl Kind {
    /// By the code of the answer, or by what else is known where it says none.
    fn of(code: &str, text: &str) -> Self {
        match code {
            "NoSuchBucket" | "InvalidBucketName" => Self::NoBucket,
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" | "XAdminUserNotFound" => {
                Self::WrongKeys
            }
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Self::Denied,
            "InsufficientStorage" | "QuotaExceeded" | "XMinioStorageFull" => Self::Full,
            "PermanentRedirect" | "AuthorizationHeaderMalformed" => Self::Elsewhere,
            "NotImplemented" => Self::Unknown,
            // The address at which a machine of a cloud is granted keys.
            _ if text.contains("169.254.169.254") => Self::NoKeys,
            _ if text.contains("507 Insufficient Storage") || text.contains("no space left") => Self::Full,
            _ if text.contains("status code: 401") => Self::WrongKeys,
            _ if text.contains("status code: 403") => Self::Denied,
            _ if text.contains("redirect without LOCATION") => Self::Elsewhere,
            _ => Self::Other,
        }
    }
}

/// A refusal in words for people.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
struct Refusal {
    kind: Kind,
    words: String,
}

/// The code of an answer in XML.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    Some(rest.split_once("</Code>")?.0)
}

/// The same error in words for people. What tells something about an object (that it exists, or does not) stays as it is.
pub(super) fn in_words(config: &S3Config, error: Error) -> Error {
    let text = error.to_string();
    let found = code(&text);
    let kind = Kind::of(found.unwrap_or_default(), &text);
    if kind == Kind::Other && !matches!(error, Error::Generic { .. }) {
        return error;
    }
    let source = Box::new(Refusal { kind, words: words(config, kind, found, &innermost(&error)) });
    match error {
        Error::NotFound { path, .. } => Error::NotFound { path, source },
        Error::PermissionDenied { path, .. } => Error::PermissionDenied { path, source },
        Error::Unauthenticated { path, .. } => Error::Unauthenticated { path, source },
        _ => Error::Generic { store: "S3", source },
    }
}

fn words(config: &S3Config, kind: Kind, code: Option<&str>, reason: &str) -> String {
    let (bucket, server) = (config.bucket(), config.server());
    let says = code.map(|code| format!(" ({code})")).unwrap_or_default();
    match kind {
        Kind::NoBucket => format!("there is no bucket {bucket} at {server}{says}: make it, or correct lake.url"),
        Kind::NoKeys => format!(
            "there are no credentials for {server}: set lake.access_key and lake.secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
        ),
        Kind::WrongKeys => format!(
            "{server} does not take these credentials{says}: correct lake.access_key and lake.secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
        ),
        Kind::Denied => format!(
            "{server} denies this in the bucket {bucket}{says}: docs/s3.md lists the rights that each command needs"
        ),
        Kind::Full => format!("the bucket {bucket} at {server} is full{says}: free space, or raise its quota"),
        Kind::Elsewhere => format!("the bucket {bucket} lies in another region{says}: correct lake.region"),
        Kind::Unknown => format!("{server} does not know this kind of request{says}"),
        Kind::Other => format!("the bucket {bucket} at {server} does not answer as it should: {reason}"),
    }
}

/// The last of the reasons that errors give for one another: the layers above it only say which request it was.
fn innermost(error: &Error) -> String {
    let mut reason: &dyn StdError = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// The refusal among an error's reasons.
fn refusal<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Refusal> {
    let mut reason = Some(error);
    while let Some(error) = reason {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        reason = error.source();
    }
    None
}

/// What an error says of a bucket, wherever among its reasons.
pub(crate) fn reason(error: &(dyn StdError + 'static)) -> Option<String> {
    refusal(error).map(|refusal| refusal.words.clone())
}

/// What an error means for a process that begins: only what may pass by itself is worth another try.
pub(super) fn at_start(error: &Error) -> BatchError {
    match refusal(error) {
        Some(Refusal { kind, words }) => meaning(*kind, words.clone()),
        None => BatchError::Unavailable(error.to_string()),
    }
}

/// What an answer means that came by another client.
pub(super) fn answered(config: &S3Config, code: Option<&str>, text: &str) -> BatchError {
    let kind = Kind::of(code.unwrap_or_default(), text);
    meaning(kind, words(config, kind, code, text))
}

fn meaning(kind: Kind, words: String) -> BatchError {
    if kind == Kind::Other { BatchError::Unavailable(words) } else { BatchError::Refused(words) }
}
