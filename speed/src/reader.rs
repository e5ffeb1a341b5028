//! What the query service asks of the speed layer.

use std::sync::Arc;

use linktide_common::bucket::{Hour, Range};
use linktide_common::id::{Subject, TenantId};

use crate::view::View;
pub use crate::view::{ByValue, Counted, Held, LinksSlice, Slice, ViewError, Want};

/// Reads a view. Clones read the same one.
#[derive(Clone)]
pub struct SpeedReader {
    view: Arc<dyn View>,
    apart: Arc<dyn View>,
}

impl SpeedReader {
    /// A reader of `view`.
    #[must_use]
    pub fn new(view: Arc<dyn View>) -> Self {
        Self { apart: Arc::clone(&view), view }
    }

    /// The same, where work that stands back has a way of its own to what `view` reads.
    #[must_use]
    pub fn with_apart(self, apart: Arc<dyn View>) -> Self {
        Self { apart, ..self }
    }

    /// A reader for work that stands back. It is asked on one runtime alone: a connection is served where it was begun.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { view: Arc::clone(&self.apart), apart: Arc::clone(&self.apart) }
    }

    /// How far the view has come.
    ///
    /// # Errors
    /// [`ViewError`] where the view cannot be reached.
    pub async fn held(&self) -> Result<Held, ViewError> {
        self.view.held().await
    }

    /// What was received of `subject` from the watermark on. Whoever asks compares [`Held::from`] with it.
    ///
    /// # Errors
    /// [`ViewError`] where the view cannot be reached.
    pub async fn read(&self, subject: Subject, watermark: Hour, want: &Want) -> Result<Slice, ViewError> {
        self.view.read(subject, watermark, want).await
    }

    /// All that was received of every link in these hours.
    ///
    /// # Errors
    /// [`ViewError`] where the view cannot be reached.
    pub async fn counted(&self, received: std::ops::Range<Hour>) -> Result<Counted, ViewError> {
        self.view.counted(received).await
    }

    /// What was received of each link of a tenant from the watermark on, perhaps with its labels.
    ///
    /// # Errors
    /// [`ViewError`] where the view cannot be reached.
    pub async fn links(
        &self,
        tenant: TenantId,
        watermark: Hour,
        range: Range,
        labels: bool,
    ) -> Result<LinksSlice, ViewError> {
        self.view.links(tenant, watermark, range, labels).await
    }
}
