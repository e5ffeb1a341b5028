//! Repeats: clicks of a person who has just clicked on the same link.
//!
//! A click is a repeat where the click before it, by event time, of the same visitor on the same link, among those that the
//! log received in the same hour, was at most a window earlier. Received hours bound it so that parts that are cut at them
//! add up. Who is first and who follows is decided by event time alone: in whatever order clicks are counted, and in however
//! many parts, as many are repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::TenantId;

/// The longest window there can be: clicks of other received hours are not compared.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// How long behind a click the next one is its repeat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Windows {
    /// Milliseconds; none: nothing is a repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<u32>,
    /// Tenants that have another one, or none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tenants: BTreeMap<TenantId, Option<u32>>,
}

impl Windows {
    /// The window of every tenant, none where there is none, and of those that have another one. One that is longer than
    /// [`LONGEST`] is as long as that.
    #[must_use]
    pub fn new(window: Option<Duration>, tenants: impl IntoIterator<Item = (TenantId, Option<Duration>)>) -> Self {
        let millis = |window: Duration| u32::try_from(window.min(LONGEST).as_millis()).unwrap_or(u32::MAX);
        let tenants = tenants.into_iter().map(|(tenant, window)| (tenant, window.map(millis))).collect();
        Self { window: window.map(millis), tenants }
    }

    /// A tenant's window in milliseconds.
    #[must_use]
    pub fn of(&self, tenant: TenantId) -> Option<u32> {
        self.tenants.get(&tenant).copied().unwrap_or(self.window)
    }

    /// The window of every tenant that has none of its own, and those that have, in milliseconds.
    #[must_use]
    pub fn parts(&self) -> (Option<u32>, &BTreeMap<TenantId, Option<u32>>) {
        (self.window, &self.tenants)
    }

    /// Whether nobody has a window.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.window.is_none() && self.tenants.values().all(Option::is_none)
    }
}

/// When one visitor clicked on one link: spans `(first, last)` of milliseconds, in order, within which no click is further
/// than the window behind the one before it, and further apart than it from one another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Visits(Vec<(i64, i64)>);

impl Visits {
    /// The spans of clicks; `repeat` is told of each that is a repeat.
    pub fn of(clicks: impl IntoIterator<Item = i64>, window: u32, repeat: impl FnMut(i64)) -> Self {
        let mut visits = Self::default();
        visits.join(clicks.into_iter().map(|at| (at, at)).collect(), window, repeat);
        visits
    }

    /// Adds spans; `repeat` is told of each click that becomes a repeat by it: the first one of a span that joins another.
    pub fn add(&mut self, other: &Self, window: u32, repeat: impl FnMut(i64)) {
        let mut spans = std::mem::take(&mut self.0);
        spans.extend_from_slice(&other.0);
        self.join(spans, window, repeat);
    }

    fn join(&mut self, mut spans: Vec<(i64, i64)>, window: u32, mut repeat: impl FnMut(i64)) {
        spans.sort_unstable();
        for (first, last) in spans {
            match self.0.last_mut() {
                Some(span) if first <= span.1 + i64::from(window) => {
                    repeat(first);
                    span.1 = span.1.max(last);
                }
                _ => {
                    if self.0.is_empty() {
                        // Most visitors click once.
                        self.0.reserve_exact(1);
                    }
                    self.0.push((first, last));
                }
            }
        }
    }

    /// Its spans.
    #[must_use]
    pub fn spans(&self) -> &[(i64, i64)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn tenant_may_have_a_window_of_its_own_or_none() {
        let windows = Windows::new(Some(30 * SECOND), [(TenantId(7), Some(SECOND)), (TenantId(8), None)]);
        assert_eq!([6, 7, 8].map(|tenant| windows.of(TenantId(tenant))), [Some(30_000), Some(1000), None]);
        assert_eq!(Windows::new(Some(7200 * SECOND), []).of(TenantId(0)), Some(3_600_000));
        let json = serde_json::to_string(&windows).unwrap();
        assert_eq!(serde_json::from_str::<Windows>(&json).unwrap(), windows, "{json}");
        assert!(Windows::default().is_off() && !windows.is_off());
    }

    /// Each click that follows another within the window.
    fn plain(clicks: &[i64], window: u32) -> Vec<i64> {
        let mut sorted = clicks.to_vec();
        sorted.sort_unstable();
        sorted.windows(2).filter(|pair| pair[1] - pair[0] <= i64::from(window)).map(|pair| pair[1]).collect()
    }

    proptest! {
        #[test]
        fn as_many_are_repeats_in_whatever_order_and_parts_they_are_counted(
            parts in prop::collection::vec(prop::collection::vec(-300i64..300, 0..12), 1..6), window in 1u32..60,
        ) {
            let (mut found, mut visits) = (Vec::new(), Visits::default());
            for part in &parts {
                let new = Visits::of(part.iter().copied(), window, |at| found.push(at));
                visits.add(&new, window, |at| found.push(at));
            }
            found.sort_unstable();
            prop_assert_eq!(found, plain(&parts.concat(), window));
            let mut spans = visits.spans().windows(2);
            prop_assert!(spans.all(|pair| pair[0].1 + i64::from(window) < pair[1].0));
        }
    }
}
