//! Reputation of addresses: networks from files, and the owners of networks by their numbers.
//!
//! A text file has a network or an address a line (`203.0.113.0/24`); behind it may stand its own points
//! (`203.0.113.0/24 80`). `!203.0.113.64/26` takes a part out of a network that is listed. What follows a comma, a `#`
//! or a `;` is passed over, so that most lists that are published can be used as they are. Of a file of JSON every text
//! that is a network counts, wherever it stands: so are the ranges that clouds publish.

use std::path::Path;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::list::{ListError, each_line, is_json, json};
use super::prefix::{Mark, Network, Prefixes};

/// Prefixes that all lists may have together: some 500 MB while they are read.
pub(super) const MOST: usize = 16_000_000;

/// Reads one list. `room` is how many prefixes it may have.
pub(super) fn read(path: &Path, mark: Mark, list: u8, room: usize) -> Result<Prefixes, ListError> {
    let mut prefixes = Prefixes::default();
    if is_json(path) {
        collect(&json(path)?, &mut |text| {
            if let Ok(network) = Network::parse(text) {
                prefixes.add(network, mark);
            }
        });
        if prefixes.len() == 0 {
            return Err(ListError::of(path, "there is no network in it"));
        }
        if prefixes.len() > room {
            return Err(ListError::of(path, too_many()));
        }
        return Ok(prefixes);
    }
    each_line(path, &['#', ';'], |_, line| {
        let (network, mark) = entry(line, mark, list)?;
        if prefixes.len() == room {
            return Err(too_many());
        }
        prefixes.add(network, mark);
        Ok(())
    })?;
    Ok(prefixes)
}

fn too_many() -> String {
    format!(
        "the lists of networks have more than {MOST} prefixes together; join neighbouring ones, or leave a list out"
    )
}

fn entry(line: &str, mark: Mark, list: u8) -> Result<(Network, Mark), String> {
    let said = line.split(',').next().unwrap_or_default();
    let (said, excluded) = match said.strip_prefix('!') {
        Some(rest) => (rest, true),
        None => (said, false),
    };
    let mut words = said.split_whitespace();
    let network = Network::parse(words.next().unwrap_or_default())?;
    let mark = match (words.next(), excluded || mark.is_trusted()) {
        (None, _) if excluded => Mark::NONE,
        (None, _) => mark,
        (Some(points), false) => Mark::of(list, self::points(points)?),
        (Some(more), true) => return Err(format!("`{more}` stands behind a network that has no points")),
    };
    match words.next() {
        Some(more) => Err(format!("`{more}` is too much; write a network and, if wanted, its points")),
        None => Ok((network, mark)),
    }
}

fn points(text: &str) -> Result<u8, String> {
    let wrong = || format!("`{text}` is no number of points; write one from 0 to 100");
    text.parse().ok().filter(|points| *points <= 100).ok_or_else(wrong)
}

/// Every text in a document.
fn collect(value: &Value, take: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(values) => values.iter().for_each(|value| collect(value, take)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, take)),
        _ => {}
    }
}

/// Reads numbers of autonomous systems, one a line (`AS64500`), each with points of its own if wanted.
pub(super) fn read_asns(path: &Path, points: u8) -> Result<FxHashMap<u32, u8>, ListError> {
    let mut asns = FxHashMap::default();
    each_line(path, &['#', ';'], |_, line| {
        let said = line.split(',').next().unwrap_or_default();
        let mut words = said.split_whitespace();
        let number = words.next().unwrap_or_default();
        let digits = number.strip_prefix("AS").or_else(|| number.strip_prefix("as")).unwrap_or(number);
        let wrong = || format!("`{number}` is no number of an autonomous system; write AS64500 or 64500");
        let asn = digits.parse().map_err(|_| wrong())?;
        let points = words.next().map_or(Ok(points), self::points)?;
        if let Some(more) = words.next() {
            return Err(format!("`{more}` is too much; write a number and, if wanted, its points"));
        }
        asns.insert(asn, points);
        Ok(())
    })?;
    Ok(asns)
}

#[cfg(test)]
mod tests {
    use super::super::prefix::Table;
    use super::*;

    fn read_text(name: &str, text: &str) -> Result<Table, ListError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path, Mark::of(0, 40), 0, MOST).map(|prefixes| Table::of([prefixes]))
    }

    #[test]
    fn lists_are_read_as_they_are_published() {
        for (name, text) in [
            ("own.txt", "\u{feff}# ours\r\n203.0.113.0/24\r\n\n  2001:db8::/32  # a lab\n!203.0.113.64/26\n"),
            ("drop.txt", "; Spam\n203.0.113.0/24 ; SBL1\n2001:db8::/32 40;\n!203.0.113.64/26\n"),
            ("ranges.csv", "203.0.113.0/26,NL,NL-NH,Amsterdam\n203.0.113.128/25,NL\n2001:db8::/32,US,,\n"),
            (
                "aws.json",
                r#"{"syncToken":"1","prefixes":[{"ip_prefix":"203.0.113.0/26","region":"eu"},{"ip_prefix":"203.0.113.128/25"}],"ipv6_prefixes":[{"ipv6_prefix":"2001:db8::/32"}]}"#,
            ),
            (
                "azure.json",
                r#"{"values":[{"name":"A","properties":{"addressPrefixes":["203.0.113.0/26","203.0.113.128/25","2001:db8::/32"]}}]}"#,
            ),
        ] {
            let table = read_text(name, text).unwrap();
            let points = |ip: &str| table.find(ip.parse().unwrap()).points();
            assert_eq!(
                ["203.0.113.7", "203.0.113.70", "203.0.113.200", "2001:db8::1", "192.0.2.1"].map(points),
                [40, 0, 40, 40, 0],
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (name, text, told) in [
            ("a.txt", "10.0.0.0/8\nexample\n", "a.txt, line 2: `example` is no network"),
            ("a.txt", "10.0.0.0/8 101\n", "line 1: `101` is no number of points"),
            ("a.txt", "10.0.0.0/8 10 x\n", "line 1: `x` is too much"),
            ("a.txt", "!10.0.0.0/8 10\n", "line 1: `10` stands behind"),
            ("a.json", "{\n\"a\": \n", "a.json, line 3: "),
            ("a.json", "{}", "a.json: there is no network in it"),
        ] {
            let error = read_text(name, text).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("many.txt");
        std::fs::write(&path, "10.0.0.0/8\n11.0.0.0/8\n").unwrap();
        let error = read(&path, Mark::of(0, 40), 0, 1).unwrap_err().to_string();
        assert!(error.contains("line 2: ") && error.contains("16000000 prefixes"), "{error}");
        std::fs::write(&path, b"10.0.0.0/8\n\xff\n").unwrap();
        assert!(read(&path, Mark::of(0, 40), 0, 9).unwrap_err().to_string().contains("line 2: the line is not UTF-8"));
    }

    #[test]
    fn owners_of_networks_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("asn.txt");
        std::fs::write(&path, "AS64500 # Harbour\n64501 80\nas64502,\"Quay, Inc.\"\n").unwrap();
        let asns = read_asns(&path, 40).unwrap();
        assert_eq!([64_500, 64_501, 64_502].map(|asn| asns.get(&asn).copied()), [Some(40), Some(80), Some(40)]);
        std::fs::write(&path, "AS64500\nASN,Entity\n").unwrap();
        assert!(read_asns(&path, 40).unwrap_err().to_string().contains("line 2: `ASN` is no number"));
    }
}
