//! Numbers and small charts of letters.

use serde_json::Value;

/// The widest row of letters that a chart may have.
const WIDTH: usize = 60;

/// A number with its thousands apart: `1,234,567`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Visitors as an answer tells them, and how far that may be off: `= 97` where each was counted, `≈ 1,234` where they are
/// estimated.
pub(super) fn visitors(uniques: &Value) -> (String, String) {
    let count = number(uniques["estimate"].as_u64().unwrap_or_default());
    match uniques["method"].as_str() {
        Some("exact") => (format!("= {count}"), "each one counted".to_owned()),
        _ => {
            let error = uniques["standard_error"].as_f64().unwrap_or_default() * 100.0;
            (format!("≈ {count}"), format!("±{error:.1} %"))
        }
    }
}

/// A row of blocks, as high as the values; neighbours are summed where there are too many.
pub(super) fn sparkline(values: &[u64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let sums: Vec<u64> = values.chunks(values.len().div_ceil(WIDTH).max(1)).map(|part| part.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or_default().max(1);
    // Only nothing looks like nothing.
    let block = |value: u64| if value == 0 { ' ' } else { BLOCKS[scaled(value, most, BLOCKS.len()) - 1] };
    sums.into_iter().map(block).collect()
}

/// A bar as long as the value's part of the most.
pub(super) fn bar(value: u64, most: u64) -> String {
    "█".repeat(scaled(value, most.max(1), 20))
}

/// The value's part of the most in steps, the first of them for anything at all.
fn scaled(value: u64, most: u64, steps: usize) -> usize {
    let steps = u128::try_from(steps).unwrap_or_default();
    let scaled = (u128::from(value) * steps).div_ceil(u128::from(most)).min(steps);
    usize::try_from(scaled).unwrap_or_default()
}

/// A change in percent: `+12.3 %`, and nothing where there was nothing to compare with.
pub(super) fn change(change: Option<f64>) -> String {
    change.map_or_else(String::new, |change| format!("{:+.1} %", change * 100.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_counted_one_by_one_and_what_is_estimated_are_told_apart() {
        let exact = json!({ "estimate": 97, "method": "exact", "standard_error": 0.0 });
        let about = json!({ "estimate": 1_234_567, "method": "hll", "standard_error": 0.008125 });
        assert_eq!(visitors(&exact), ("= 97".to_owned(), "each one counted".to_owned()));
        assert_eq!(visitors(&about), ("≈ 1,234,567".to_owned(), "±0.8 %".to_owned()));
    }

    #[test]
    fn numbers_and_charts_are_readable() {
        let numbers = [0, 999, 1_000, 1_234_567].map(number);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"].map(str::to_owned));
        assert_eq!(sparkline(&[0, 1, 4, 8]), " ▁▄█");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[1; 168]).chars().count(), 56);
        assert_eq!(
            (bar(1, 1_000_000), bar(0, 5), bar(u64::MAX, u64::MAX)),
            ("█".into(), String::new(), "█".repeat(20))
        );
        assert_eq!(
            (change(Some(0.123)), change(Some(-0.5)), change(None)),
            ("+12.3 %".into(), "-50.0 %".into(), String::new())
        );
    }
}
