//! Who may ask what, and how much of it: credentials become a [`Principal`] at the door, once.
//!
//! Behind the door nobody looks at a credential again: handlers take the principal, and what it may do follows from its
//! tenant, its [`Scopes`] and, where it came by a share link, the one link that it may ask about.

mod gate;
mod principal;
mod refusal;

pub use gate::{Gate, guard};
pub use principal::{Forbidden, Means, Principal, Scope, Scopes};
