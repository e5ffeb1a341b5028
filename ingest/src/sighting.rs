//! What a request tells of who follows a link.
//!
//! On the redirect's way it is only copied, in one piece; the click is made of it later, on the emitter's thread.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use linktide_common::address;
use linktide_common::click::{Click, Headers, Kind, Signals, Trigger, edge};
use linktide_common::id::TenantId;

use crate::links::Link;
use crate::redirect::Peer;

const TEXTS: usize = 7;
/// Headers whose text goes into the click.
const TOLD: [HeaderName; TEXTS] = [
    header::USER_AGENT,
    header::REFERER,
    header::ACCEPT_LANGUAGE,
    HeaderName::from_static("sec-ch-ua"),
    HeaderName::from_static("sec-ch-ua-mobile"),
    HeaderName::from_static("sec-ch-ua-platform"),
    HeaderName::from_static(edge::HEADER),
];
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request, as far as a click remembers it.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    texts: Vec<u8>,
    lengths: [Option<usize>; TEXTS],
    pub(crate) ip: Option<IpAddr>,
    headers: Headers,
    https: Option<bool>,
    kind: Kind,
    trigger: Trigger,
}

impl Sighting {
    /// What a request tells, seen behind `proxies` of our own.
    pub(crate) fn of(headers: &HeaderMap, peer: Peer, proxies: usize, kind: Kind, trigger: Trigger) -> Self {
        let told = TOLD.map(|name| headers.get(name).map(HeaderValue::as_bytes));
        Self {
            texts: told.map(Option::unwrap_or_default).concat(),
            lengths: told.map(|text| text.map(<[u8]>::len)),
            ip: address::seen(headers, peer.map(|peer| peer.0.0.ip()), proxies),
            headers: Headers::seen(|name| headers.contains_key(name)),
            https: https(headers, proxies),
            kind,
            trigger,
        }
    }

    /// Bytes of its texts.
    pub(crate) fn size(&self) -> usize {
        self.texts.len()
    }

    /// The click on a link. What an edge signed is still to be resolved.
    pub(crate) fn into_click(self, link: &Link) -> Click {
        let mut rest = self.texts.as_slice();
        let texts = self.lengths.map(|length| {
            let (text, others) = rest.split_at(length?);
            rest = others;
            Some(String::from_utf8_lossy(text).into_owned())
        });
        let [user_agent, referrer, language, sec_ch_ua, sec_ch_ua_mobile, sec_ch_ua_platform, edge_signals] = texts;
        let (headers, https) = (Some(self.headers), self.https);
        let signals = Signals { sec_ch_ua, sec_ch_ua_mobile, sec_ch_ua_platform, headers, https, ..Signals::default() };
        Click {
            tenant_id: TenantId(0),
            link_id: link.link_id,
            click_id: None,
            clicked_at: None,
            ip: self.ip,
            user_agent,
            referrer,
            language,
            destination: Some(link.destination.clone()),
            slug: Some(link.slug.clone()),
            title: link.title.clone(),
            kind: self.kind,
            trigger: self.trigger,
            imported: false,
            signals: Some(Box::new(signals)),
            edge_signals,
        }
    }
}

/// Whether the visitor's connection is encrypted: ours is not, and of the others our proxies tell, if they do.
fn https(headers: &HeaderMap, proxies: usize) -> Option<bool> {
    if proxies == 0 {
        return Some(false);
    }
    match headers.get(FORWARDED_PROTO)?.as_bytes() {
        b"https" => Some(true),
        b"http" => Some(false),
        _ => None,
    }
}
