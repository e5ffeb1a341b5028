//! Who may ask what, and how much of it: credentials become a [`Principal`] at the [`Gate`], once.
//!
//! There are three kinds of them: API keys, tokens of an identity provider, and share links. Behind the gate nobody looks at
//! a credential again: handlers take the principal, and what it may do follows from its tenant, its [`Scopes`] and, where it
//! came by a share link, the one link that it may ask about.
//!
//! Both doors stand behind it, that of questions and that of clicks.

mod code;
mod gate;
mod jws;
mod key;
mod known;
mod limit;
mod principal;
mod refusal;
mod share;
mod shares;
mod store;
mod token;

pub use gate::{Gate, GateConfig, guard};
pub use key::{ApiKey, KeyRecord, NewKey};
pub use limit::{Allowance, LimitConfig};
pub use principal::{Forbidden, Means, Principal, Scope, Scopes};
pub use share::Share;
pub use shares::Shares;
pub use store::{AccessError, AccessStore};
pub use token::{JwksError, TokenConfig, Tokens};
