//! What `/metrics` says, in the text format of Prometheus: as much of it as `linktide status` asks for.

use std::collections::BTreeMap;

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// All figures of a text; lines that are none are left out.
pub(super) fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Labels up to the brace that ends them, and what is behind it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, behind) = rest.split_once("=\"")?;
        let (mut value, mut letters) = (String::new(), behind.char_indices());
        let end = loop {
            match letters.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match letters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, letter) => value.push(letter),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = &behind[end..];
    }
}

/// What several processes measure, together.
#[derive(Debug, Default)]
pub(super) struct Figures(Vec<Sample>);

impl Figures {
    pub(super) fn add(&mut self, samples: Vec<Sample>) {
        self.0.extend(samples);
    }

    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum of a count by the values of a label; none where nobody measures it.
    pub(super) fn counts(&self, name: &str, label: &str) -> Option<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for sample in self.named(name) {
            *counts.entry(sample.labels.get(label).cloned().unwrap_or_default()).or_default() += whole(sample.value);
        }
        (!counts.is_empty()).then_some(counts)
    }

    /// The sum of a count; none where nobody measures it.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.named(name).map(|sample| whole(sample.value)).reduce(|sum, count| sum + count)
    }
}

/// A count as a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count is neither, and `as` keeps to the bounds"
)]
pub(super) fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_with_their_labels() {
        let text = "# HELP a_total what it is\n# TYPE a_total counter\na_total{reason=\"queue_full\"} 3\n\
                    a_total{reason=\"say \\\"a, b}\\\"\\n\",layer=\"x\"} 4\nb 1.5\nb_bucket{le=\"+Inf\"} 1e3 1700000000\nnonsense\nc{\n";
        let samples = parse(text);
        let values: Vec<_> = samples.iter().map(|sample| (sample.name.as_str(), sample.value)).collect();
        assert_eq!(values, [("a_total", 3.0), ("a_total", 4.0), ("b", 1.5), ("b_bucket", 1000.0)]);
        assert_eq!(samples[1].labels["reason"], "say \"a, b}\"\n");
        assert_eq!(samples[1].labels["layer"], "x");
    }

    #[test]
    fn figures_of_processes_add_up_and_what_nobody_measures_is_not_zero() {
        let mut figures = Figures::default();
        for text in ["d_total{reason=\"a\"} 3\nd_total{reason=\"b\"} 1\n", "d_total{reason=\"a\"} 4\n"] {
            figures.add(parse(text));
        }
        let counts = figures.counts("d_total", "reason").unwrap();
        assert_eq!(counts, BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 1)]));
        assert_eq!((figures.count("d_total"), figures.count("e_total")), (Some(8), None));
    }
}
