//! Campaign parameters: the `utm_` part of a destination's query.

use super::{Text, Utm};

/// The longest value that is kept, in bytes.
const MOST: usize = 256;

/// The campaign parameters of a URL; the first of each name that says something counts.
pub(super) fn parse(destination: &str) -> Utm {
    let mut utm = Utm::default();
    let without_fragment = destination.split('#').next().unwrap_or_default();
    let Some((_, query)) = without_fragment.split_once('?') else { return utm };
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

/// Percent-decodes a value, `+` being a space. One that is no UTF-8 says nothing: a guess at its letters would be another
/// value.
fn decode(value: &str) -> Option<Text> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        decoded.push(match (first, tail) {
            (b'%', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = behind;
                digit(*high) << 4 | digit(*low)
            }
            (b'+', _) => b' ',
            (byte, _) => *byte,
        });
    }
    let text = std::str::from_utf8(&decoded).ok()?.trim();
    let text = text[..text.floor_char_boundary(MOST)].trim_end();
    (!text.is_empty()).then(|| text.into())
}

/// The value of a hexadecimal digit.
fn digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn campaign_is_read_from_the_query() {
        let utm = parse(
            "https://a.example/p?x=1&utm_source=News+letter&utm_medium=e%2Dm%C3%A4il&utm_campaign=&utm_source=second#utm_term=no",
        );
        assert_eq!((utm.source.as_deref(), utm.medium.as_deref()), (Some("News letter"), Some("e-mäil")));
        assert_eq!((utm.campaign, utm.term), (None, None));
        assert_eq!(parse("https://a.example/#?utm_source=x"), Utm::default());
        assert_eq!(parse("https://a.example/?utm_campaign=&utm_campaign=b").campaign.as_deref(), Some("b"));
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        for (value, decoded) in
            [("100%", "100%"), ("%+5", "% 5"), ("%zz", "%zz"), ("%4", "%4"), ("%4a%4A", "JJ"), ("é", "é")]
        {
            assert_eq!(decode(value).as_deref(), Some(decoded), "{value}");
        }
    }

    #[test]
    fn value_that_is_no_utf8_says_nothing() {
        let utm = parse("https://a.example/?utm_content=%ff%fe&utm_term=ok");
        assert_eq!((utm.content, utm.term.as_deref()), (None, Some("ok")));
    }

    #[test]
    fn long_value_is_cut_at_a_character() {
        assert_eq!(parse(&format!("?utm_source=a{}", "%C3%A9".repeat(400))).source.unwrap().len(), MOST - 1);
    }

    proptest! {
        #[test]
        fn every_escaped_text_comes_back(text in "[^\\s]{1,40}") {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&escaped), Some(text.into()));
        }
    }
}
