//! Settings of repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use linktide_common::id::TenantId;
use linktide_common::repeat::Windows;
use serde::{Deserialize, Serialize};

use super::Window;

/// Which clicks of people are repeats: those that closely follow another click of the same visitor on the same link. The same
/// for every process of a Linktide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Repeats {
    /// How closely, or `off`.
    pub window: Window,
    /// Tenants that have another window, or none.
    pub tenants: BTreeMap<TenantId, Window>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { window: Window(Some(Duration::from_secs(30))), tenants: BTreeMap::new() }
    }
}

impl Repeats {
    /// What the layers count by.
    #[must_use]
    pub fn windows(&self) -> Windows {
        Windows::new(self.window.0, self.tenants.iter().map(|(tenant, window)| (*tenant, window.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources, load};

    #[test]
    fn tenant_may_have_a_window_of_its_own_or_none() {
        let file = |text: &str| Sources { file: Some(("linktide.toml".into(), text.into())), ..Sources::default() };
        let config = load(file("[repeats]\nwindow = \"10s\"\n[repeats.tenants]\n7 = \"off\"\n8 = \"1m\"\n")).unwrap();
        let windows = config.repeats.windows();
        assert_eq!([6, 7, 8].map(|tenant| windows.of(TenantId(tenant))), [Some(10_000), None, Some(60_000)]);
        assert_eq!(load(file(&toml::to_string(&config).unwrap())).unwrap(), config);
        assert_eq!(Config::default().repeats.windows().of(TenantId(0)), Some(30_000));
        let wrong =
            load(file("[repeats]\nwindow = \"2h\"\n[repeats.tenants]\nseven = \"1s\"\n")).unwrap_err().to_string();
        assert!(wrong.contains("2h") && wrong.contains("seven"), "{wrong}");
    }
}
