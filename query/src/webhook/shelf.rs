//! The objects of webhooks, each created once and never changed:
//!
//! ```text
//! webhook/<tenant>/<id>/subscription.json            what it waits for
//! webhook/<tenant>/<id>/ended.json                   nobody is told any more, and why
//! webhook/<tenant>/<id>/fired/<event>.json           what came: its creator claims it, once for all processes
//! webhook/<tenant>/<id>/claim/<event>/<n>.json       someone sends it, for the nth time
//! webhook/<tenant>/<id>/attempt/<event>/<n>.json     what came of that
//! webhook/<tenant>/<id>/over/<event>.json            it was delivered, or given up
//! ```
//!
//! Names alone say what is to be done; what was read once is kept, since nothing changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use linktide_common::id::TenantId;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::objects::{Objects, ObjectsError};

/// Whose webhook it is, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HookKey {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
}

impl HookKey {
    pub(super) fn place(&self, name: &str) -> Path {
        Path::from(format!("webhook/{}/{}/{name}", self.tenant, self.id))
    }
}

/// The names of a webhook's objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }

    /// The events that came, in the order of their names.
    pub(super) fn events(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|name| name.strip_prefix("fired/")?.strip_suffix(".json"))
    }

    pub(super) fn is_over(&self, event: &str) -> bool {
        self.has(&over(event))
    }

    /// How many times sending an event was claimed, and how many of them have an outcome.
    pub(super) fn tries(&self, event: &str) -> (u32, u32) {
        let count = |kind: &str| {
            let folder = format!("{kind}/{event}/");
            u32::try_from(self.0.iter().filter(|name| name.starts_with(&folder)).count()).unwrap_or(u32::MAX)
        };
        (count("claim"), count("attempt"))
    }

    pub(super) fn all(&self) -> &[String] {
        &self.0
    }
}

pub(super) const SUBSCRIPTION: &str = "subscription.json";
pub(super) const ENDED: &str = "ended.json";

pub(super) fn fired(event: &str) -> String {
    format!("fired/{event}.json")
}

pub(super) fn claim(event: &str, number: u32) -> String {
    format!("claim/{event}/{number:04}.json")
}

pub(super) fn attempt(event: &str, number: u32) -> String {
    format!("attempt/{event}/{number:04}.json")
}

pub(super) fn over(event: &str) -> String {
    format!("over/{event}.json")
}

/// All objects of webhooks.
pub(super) struct Shelf {
    objects: Objects,
    read: Mutex<HashMap<Path, Value>>,
}

impl Shelf {
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { objects: Objects::new(store), read: Mutex::default() }
    }

    pub(super) async fn create(&self, key: &HookKey, name: &str, value: &impl Serialize) -> Result<bool, ObjectsError> {
        self.objects.create(&key.place(name), value).await
    }

    /// What an object says; it is read once.
    pub(super) async fn read<T: DeserializeOwned>(&self, key: &HookKey, name: &str) -> Result<Option<T>, ObjectsError> {
        let place = key.place(name);
        let known = self.read.lock().get(&place).cloned();
        let value = match known {
            Some(value) => value,
            None => {
                let Some(value) = self.objects.read::<Value>(&place).await? else { return Ok(None) };
                self.read.lock().insert(place.clone(), value.clone());
                value
            }
        };
        let unreadable =
            |error: serde_json::Error| ObjectsError::Unreadable { place: place.to_string(), reason: error.to_string() };
        serde_json::from_value(value).map(Some).map_err(unreadable)
    }

    /// Every webhook, with the names of its objects.
    pub(super) async fn all(&self) -> Result<BTreeMap<HookKey, Names>, ObjectsError> {
        let hooks = self.below(&Path::from("webhook")).await?;
        self.read.lock().retain(|place, _| {
            named(place).is_some_and(|(key, name)| hooks.get(&key).is_some_and(|names| names.has(&name)))
        });
        Ok(hooks)
    }

    /// Every webhook of a tenant.
    pub(super) async fn of_tenant(&self, tenant: TenantId) -> Result<BTreeMap<HookKey, Names>, ObjectsError> {
        self.below(&Path::from(format!("webhook/{tenant}"))).await
    }

    /// One webhook; its names are none where it is none.
    pub(super) async fn one(&self, key: &HookKey) -> Result<Names, ObjectsError> {
        let folder = Path::from(format!("webhook/{}/{}", key.tenant, key.id));
        Ok(self.below(&folder).await?.remove(key).unwrap_or_default())
    }

    async fn below(&self, folder: &Path) -> Result<BTreeMap<HookKey, Names>, ObjectsError> {
        let mut hooks: BTreeMap<HookKey, Names> = BTreeMap::new();
        for object in self.objects.list(folder).await? {
            if let Some((key, name)) = named(&object.place) {
                hooks.entry(key).or_default().0.push(name);
            }
        }
        Ok(hooks)
    }

    pub(super) async fn delete(&self, key: &HookKey, names: &[String]) -> Result<(), ObjectsError> {
        let places: Vec<Path> = names.iter().map(|name| key.place(name)).collect();
        self.objects.delete_all(&places).await
    }
}

/// The webhook that an object is of, and its name there.
fn named(place: &Path) -> Option<(HookKey, String)> {
    let mut parts = place.as_ref().strip_prefix("webhook/")?.splitn(3, '/');
    let tenant = parts.next()?.parse().ok()?;
    let id = Uuid::parse_str(parts.next()?).ok()?;
    Some((HookKey { tenant, id }, parts.next()?.to_owned()))
}
