//! Bytes to a [`Click`] or a [`Reject`].
//!
//! 1. The record is checked for its size and for UTF-8.
//! 2. One pass collects the known fields ([`super::record`]).
//! 3. Each field is read from its value. Only when one is refused is the record read again, to find where it stands.

use uuid::Uuid;

use super::record::{Field, Fields, Scalar, position_of};
use super::{Click, Kind, Reject, RejectReason, Signals, Trigger, cut, limits};
use crate::bucket::Timestamp;
use crate::id::{ClickId, LinkId, TenantId};

const AN_ID: &str = "a whole number from 0 to 18446744073709551615, as a number or a decimal string";
const A_TIME: &str = "a time such as 2026-03-01T10:00:00Z, or milliseconds since 1970";
const A_TOKEN: &str = "a token of at most 2048 letters, digits, dots, hyphens and underscores";
const AN_ADDRESS: &str = "an IPv4 or IPv6 address";

pub(super) fn parse(record: &[u8]) -> Result<Click, Reject> {
    if record.len() > limits::RECORD {
        let detail = format!("{} bytes, a record may have {}", record.len(), limits::RECORD);
        return Err(Reject::of_record(RejectReason::TooLarge, detail, Some(limits::RECORD)));
    }
    let text = std::str::from_utf8(record).map_err(|error| {
        Reject::of_record(RejectReason::NotUtf8, "the record is not UTF-8", Some(error.valid_up_to()))
    })?;
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
    if let Some(field) = fields.twice {
        return Err(Reject {
            reason: RejectReason::Syntax,
            field: Some(field.name()),
            detail: "the field is there twice, send it once".to_owned(),
            position: position_of(text, field, 1),
        });
    }
    fields.into_click().map_err(|fault| fault.into_reject(text))
}

/// What the JSON parser refused. What it says of syntax are fixed texts; of a wrong type it would repeat the record.
fn unreadable(text: &str, error: &serde_json::Error) -> Reject {
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let position = (before + error.column().saturating_sub(1)).min(text.len());
    let said = error.to_string();
    let detail = match error.classify() {
        serde_json::error::Category::Data => "not the JSON object of a click".to_owned(),
        _ => format!("not the JSON object of a click: {}", said.split(" at line ").next().unwrap_or(&said)),
    };
    Reject::of_record(RejectReason::Syntax, detail, Some(position))
}

/// What is wrong with one field; where it stands is looked for only now.
enum Fault {
    Missing(Field),
    Bad { field: Field, value: String, wanted: &'static str },
}

impl Fault {
    fn bad(field: Field, value: &Scalar<'_>, wanted: &'static str) -> Self {
        let value = match value {
            Scalar::Absent => "null".to_owned(),
            Scalar::Text(text) => text.to_string(),
            Scalar::Unsigned(number) => number.to_string(),
            Scalar::Signed(number) => number.to_string(),
            Scalar::Float(number) => number.to_string(),
            Scalar::Bool(truth) => truth.to_string(),
            Scalar::Nested(what) => (*what).to_owned(),
        };
        Self::Bad { field, value, wanted }
    }

    fn into_reject(self, record: &str) -> Reject {
        match self {
            Self::Missing(field) => Reject {
                reason: RejectReason::MissingField,
                field: Some(field.name()),
                detail: "every click needs it".to_owned(),
                position: Some(record.trim_ascii_end().len()),
            },
            Self::Bad { field, value, wanted } => {
                Reject::bad_value(field.name(), &value, wanted, position_of(record, field, 0))
            }
        }
    }
}

/// The fields read, one after the other.
impl Fields<'_> {
    fn into_click(mut self) -> Result<Click, Fault> {
        Ok(Click {
            tenant_id: TenantId(self.id(Field::TenantId)?.unwrap_or_default()),
            link_id: LinkId(self.id(Field::LinkId)?.ok_or(Fault::Missing(Field::LinkId))?),
            click_id: self.parsed(Field::ClickId, "a UUID", |text| Uuid::try_parse(text).ok())?.map(ClickId),
            clicked_at: self.time()?,
            ip: self.parsed(Field::Ip, AN_ADDRESS, |text| text.parse().ok())?,
            user_agent: self.text(Field::UserAgent, limits::USER_AGENT)?,
            referrer: self.text(Field::Referrer, limits::REFERRER)?,
            language: self.text(Field::Language, limits::LANGUAGE)?,
            destination: self.text(Field::Destination, limits::DESTINATION)?,
            slug: self.text(Field::Slug, limits::LABEL)?,
            title: self.text(Field::Title, limits::LABEL)?,
            kind: self.parsed(Field::Method, "GET or HEAD", kind_of)?.unwrap_or_default(),
            trigger: self.parsed(Field::Trigger, "link or qr", trigger_of)?.unwrap_or_default(),
            imported: match self.take(Field::Imported) {
                Scalar::Absent => false,
                Scalar::Bool(imported) => imported,
                other => return Err(Fault::bad(Field::Imported, &other, "true or false")),
            },
            signals: self.signals()?,
            edge_signals: self.parsed(Field::EdgeSignals, A_TOKEN, token_of)?,
        })
    }

    fn signals(&self) -> Result<Option<Box<Signals>>, Fault> {
        match self.signals.map(|object| object.get()) {
            None | Some("null" | "\"\"") => Ok(None),
            Some(object) => match Signals::parse(object) {
                Ok(signals) => Ok(Some(Box::new(signals)).filter(|signals| **signals != Signals::default())),
                Err(unfit) => Err(Fault::bad(Field::Signals, &unfit.value, unfit.wanted)),
            },
        }
    }

    fn id(&mut self, field: Field) -> Result<Option<u64>, Fault> {
        let value = self.take(field);
        let id = match &value {
            Scalar::Absent => return Ok(None),
            Scalar::Unsigned(id) => Some(*id),
            // The standard library would take a leading plus.
            Scalar::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        id.map(Some).ok_or_else(|| Fault::bad(field, &value, AN_ID))
    }

    fn time(&mut self) -> Result<Option<Timestamp>, Fault> {
        let value = self.take(Field::ClickedAt);
        let ms = match &value {
            Scalar::Absent => return Ok(None),
            Scalar::Unsigned(ms) => i64::try_from(*ms).ok(),
            Scalar::Signed(ms) => Some(*ms),
            Scalar::Text(text) => text.parse().ok().map(jiff::Timestamp::as_millisecond),
            _ => None,
        };
        let at = ms.and_then(Timestamp::from_millis);
        at.map(Some).ok_or_else(|| Fault::bad(Field::ClickedAt, &value, A_TIME))
    }

    fn parsed<T>(
        &mut self,
        field: Field,
        wanted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let value = self.take(field);
        let parsed = match &value {
            Scalar::Absent => return Ok(None),
            Scalar::Text(text) => parse(text),
            _ => None,
        };
        parsed.map(Some).ok_or_else(|| Fault::bad(field, &value, wanted))
    }

    fn text(&mut self, field: Field, limit: usize) -> Result<Option<String>, Fault> {
        match self.take(field) {
            Scalar::Absent => Ok(None),
            Scalar::Text(text) => Ok(Some(cut(&text, limit).to_owned())),
            other => Err(Fault::bad(field, &other, "a text")),
        }
    }
}

fn token_of(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (text.len() <= limits::EDGE_SIGNALS && text.bytes().all(fits)).then(|| text.to_owned())
}

fn kind_of(method: &str) -> Option<Kind> {
    match method {
        "GET" => Some(Kind::Click),
        "HEAD" => Some(Kind::Preview),
        _ => None,
    }
}

fn trigger_of(name: &str) -> Option<Trigger> {
    [Trigger::Link, Trigger::Qr].into_iter().find(|trigger| trigger.name() == name)
}
