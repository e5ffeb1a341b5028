//! The gate in front of the routes: whoever passes it is a [`Principal`].

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::principal::Principal;

/// The gate; clones share it.
#[derive(Debug, Clone)]
pub struct Gate(());

impl Gate {
    /// A gate that is open: everyone is tenant 0 and may do everything. Only for an address that nobody else reaches.
    #[must_use]
    pub fn open() -> Self {
        Self(())
    }
}

/// Lets a request pass as the principal that it comes from, or refuses it.
pub async fn guard(State(Gate(())): State<Gate>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Principal::open());
    next.run(request).await
}
