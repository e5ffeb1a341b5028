//! Campaign parameters: the `utm_` part of a destination's query.

use super::{Text, Utm};

/// The longest value that is kept, in bytes.
const MOST: usize = 256;

/// The campaign parameters of a URL; the first of each name counts.
pub(super) fn parse(destination: &str) -> Utm {
    let mut utm = Utm::default();
    let Some((_, query)) = destination.split_once('?') else { return utm };
    let query = query.split('#').next().unwrap_or_default();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let slot = match name {
            "utm_source" => &mut utm.source,
            "utm_medium" => &mut utm.medium,
            "utm_campaign" => &mut utm.campaign,
            "utm_term" => &mut utm.term,
            "utm_content" => &mut utm.content,
            _ => continue,
        };
        if slot.is_none() {
            *slot = decode(value);
        }
    }
    utm
}

/// Percent-decodes a value, `+` being a space. Bytes that are no UTF-8 are shown as the replacement character.
fn decode(value: &str) -> Option<Text> {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (bytes[at], hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    let text = String::from_utf8_lossy(&decoded);
    let text = text[..text.floor_char_boundary(MOST)].trim();
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn campaign_is_read_from_the_query() {
        let utm = parse(
            "https://a.example/p?x=1&utm_source=News+letter&utm_medium=e%2Dmail&utm_campaign=&utm_source=second#utm_term=no",
        );
        assert_eq!((utm.source.as_deref(), utm.medium.as_deref()), (Some("News letter"), Some("e-mail")));
        assert_eq!((utm.campaign, utm.term), (None, None));
        assert_eq!(parse("https://a.example/?utm_term=100%&utm_content=%ff").term.as_deref(), Some("100%"));
        assert_eq!(parse(&format!("?utm_source={}", "é".repeat(400))).source.unwrap().len(), MOST);
    }
}
