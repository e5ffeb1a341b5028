//! A [`Click`] to its canonical JSON: what parses back to the same click, and always within the limits of a record.

use std::net::IpAddr;

use serde::Serialize;

use super::{Click, Kind, Signals, Trigger, cut, limits};
use crate::bucket::Timestamp;
use crate::id::{ClickId, LinkId, TenantId};

#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "is_default")]
    tenant_id: TenantId,
    link_id: LinkId,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_id: Option<ClickId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clicked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'static str>,
    #[serde(skip_serializing_if = "is_default")]
    imported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    signals: Option<Signals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_signals: Option<&'a str>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(super) fn to_json(click: &Click, out: &mut Vec<u8>) {
    let written = Written {
        tenant_id: click.tenant_id,
        link_id: click.link_id,
        click_id: click.click_id,
        clicked_at: click.clicked_at,
        ip: click.ip,
        user_agent: kept(click.user_agent.as_deref(), limits::USER_AGENT),
        referrer: kept(click.referrer.as_deref(), limits::REFERRER),
        language: kept(click.language.as_deref(), limits::LANGUAGE),
        destination: kept(click.destination.as_deref(), limits::DESTINATION),
        slug: kept(click.slug.as_deref(), limits::LABEL),
        title: kept(click.title.as_deref(), limits::LABEL),
        method: (click.kind == Kind::Preview).then_some("HEAD"),
        trigger: (click.trigger == Trigger::Qr).then_some(Trigger::Qr.name()),
        imported: click.imported,
        signals: click.signals.as_deref().map(Signals::kept),
        edge_signals: click.edge_signals.as_deref(),
    };
    serde_json::to_writer(out, &written).expect("writing to memory does not fail");
}

/// Cut as parsing cuts: even texts of nothing but escapes then stay below the limit of a record.
fn kept(text: Option<&str>, limit: usize) -> Option<&str> {
    text.map(|text| cut(text, limit))
}
