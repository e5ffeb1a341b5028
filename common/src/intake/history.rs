//! What a reader that begins in the middle of a partition must know of what came before: the ids of the clicks.

use crate::click::Click;
use crate::copies::CopyWindow;
use crate::id::{Offset, PartitionId};
use crate::log::{LogError, LogReader, Record};

/// Offsets read at once.
const STEP: u64 = 16_384;

/// The window of copies as a reader knows it that comes to `to`. While a part is looked at, the next one is read.
pub(super) async fn copies(
    reader: &dyn LogReader,
    partition: PartitionId,
    low: Offset,
    to: Offset,
    reach: u64,
) -> Result<CopyWindow, LogError> {
    let mut copies = CopyWindow::new(reach);
    let mut from = Offset(to.0.saturating_sub(reach)).max(low);
    let mut records = Vec::new();
    while from < to || !records.is_empty() {
        let end = Offset(from.0 + STEP).min(to);
        let looked = tokio::task::spawn_blocking(move || look(copies, &records));
        let read = async { if from < end { reader.read(partition, from, end).await } else { Ok(Vec::new()) } };
        let (looked, read) = tokio::join!(looked, read);
        copies = looked.map_err(|error| LogError::Unavailable(error.to_string()))?;
        records = read?;
        from = end;
    }
    Ok(copies)
}

/// Takes in the ids of records as a reader does who counts them: what is no click is none here either.
fn look(mut copies: CopyWindow, records: &[Record]) -> CopyWindow {
    for record in records {
        if let Some(id) = record.payload.as_deref().and_then(|json| Click::parse(json).ok()?.click_id) {
            copies.see(id, record.offset);
        }
    }
    copies
}
