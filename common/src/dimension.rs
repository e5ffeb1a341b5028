//! The dimensions a click is broken down by, and a click's value in each.
//!
//! Every click has exactly one value in every dimension, [`NONE`] where it has nothing to say: only so is the sum of a
//! complete breakdown the total.

use std::fmt;
use std::str::FromStr;

use crate::enrich::EnrichedClick;

/// The value of a click that has none: no referrer, an unknown country, no bot.
pub const NONE: &str = "(none)";
/// The value that stands for all values an answer does not list.
pub const OTHER: &str = "(other)";

macro_rules! dimensions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $size:ident, |$click:ident| $value:expr;)*) => {
        /// A question one can ask of every click. The order is fixed: stored data refers to names, memory to indexes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dimension {
            $($(#[$doc])* $variant,)*
        }

        impl Dimension {
            /// Every dimension, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the API and in the tables.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether its values are few by nature, so that no guard on their number is needed.
            #[must_use]
            pub fn is_small(self) -> bool {
                match self { $(Self::$variant => Size::$size == Size::Small,)* }
            }

            /// The click's value in this dimension, [`NONE`] where it has none.
            #[must_use]
            pub fn value(self, click: &EnrichedClick) -> &str {
                match self { $(Self::$variant => { let $click = click; $value },)* }
            }
        }

        impl FromStr for Dimension {
            type Err = ();

            fn from_str(name: &str) -> Result<Self, ()> {
                match name { $($name => Ok(Self::$variant),)* _ => Err(()) }
            }
        }
    };
}

#[derive(PartialEq)]
enum Size {
    Small,
    Large,
}

fn text(value: &Option<crate::enrich::Text>) -> &str {
    value.as_deref().unwrap_or(NONE)
}

dimensions! {
    /// ISO 3166-1 alpha-2 code.
    Country = "country", Small, |click| text(&click.geo.country);
    /// ISO 3166-2 code, such as `US-CA`.
    Region = "region", Large, |click| text(&click.geo.region);
    /// City with its region or country, such as `Mountain View, US-CA`: a city's name alone names many.
    City = "city", Large, |click| text(&click.geo.city);
    /// Two-letter continent code.
    Continent = "continent", Small, |click| text(&click.geo.continent);
    /// Host of the referring page.
    Referrer = "referrer", Large, |click| text(&click.referrer.host);
    /// `direct`, `internal`, `search`, `social`, `email`, `ai` or `other`.
    ReferrerClass = "referrer_class", Small, |click| click.referrer.class.name();
    /// `desktop`, `mobile`, `tablet` or `bot`.
    Device = "device", Small, |click| click.agent.device.name();
    /// Family of the browser, without its version.
    Browser = "browser", Small, |click| text(&click.agent.browser);
    /// Family of the operating system, without its version.
    Os = "os", Small, |click| text(&click.agent.os);
    /// `utm_source` of the destination.
    UtmSource = "utm_source", Large, |click| text(&click.utm.source);
    /// `utm_medium` of the destination.
    UtmMedium = "utm_medium", Large, |click| text(&click.utm.medium);
    /// `utm_campaign` of the destination.
    UtmCampaign = "utm_campaign", Large, |click| text(&click.utm.campaign);
    /// `link` or `qr`.
    Trigger = "trigger", Small, |click| click.trigger.name();
    /// Primary language subtag, such as `en`.
    Language = "language", Small, |click| text(&click.language);
    /// The rule that made the click a bot's, or behind `suspected:` the one that speaks against a person's; [`NONE`] where
    /// nothing does.
    BotReason = "bot_reason", Small, |click| click.bot.as_deref().or(click.suspected.as_deref()).unwrap_or(NONE);
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
