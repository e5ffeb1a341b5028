//! The language a visitor prefers.

/// The primary subtag, lower case, of the `Accept-Language` entry with the highest weight; the first of equals. `*` is no
/// language, and a weight of 0 or one that is no number from 0 to 1 takes an entry out.
pub(super) fn preferred(accepted: &str) -> Option<String> {
    let mut best: Option<(f32, &str)> = None;
    for entry in accepted.split(',') {
        let mut parts = entry.split(';');
        let tag = parts.next().unwrap_or_default().trim();
        let weight = parts
            .find_map(|part| part.trim().strip_prefix("q="))
            .map_or(Some(1.0), |q| q.trim().parse().ok())
            .filter(|weight| (0.0..=1.0).contains(weight));
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        let fits = (2..=3).contains(&primary.len()) && primary.bytes().all(|byte| byte.is_ascii_alphabetic());
        if let (true, Some(weight)) = (fits, weight)
            && weight > best.map_or(0.0, |(best, _)| best)
        {
            best = Some((weight, primary));
        }
    }
    best.map(|(_, primary)| primary.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_weight_wins() {
        for (accepted, language) in [
            ("en-US,en;q=0.9", Some("en")),
            ("fr;q=0.4, DE-at;q=0.8", Some("de")),
            ("*", None),
            ("*;q=1, sv;q=0.5", Some("sv")),
            ("", None),
            ("en;q=0", None),
            ("en;q=inf, nl;q=nan, it;q=0.1", Some("it")),
            ("en;level=1;q=0.2, gsw;q=0.3", Some("gsw")),
            ("x-klingon, pt_BR", Some("pt")),
            ("日本語, ja", Some("ja")),
        ] {
            assert_eq!(preferred(accepted).as_deref(), language, "{accepted}");
        }
    }
}
