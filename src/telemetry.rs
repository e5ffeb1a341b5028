//! Log lines: on standard error, for people or for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Format, Telemetry};

/// Delta Lake's library warns of each commit that came behind another one. What that means is known where it is made: most
/// are made again, and the others are told. A filter that names this module is obeyed.
const DELTA: &str = "deltalake_core::kernel::transaction=error";

/// Begins to write log lines. Later calls change nothing.
///
/// # Errors
/// Where the level is no filter.
pub(crate) fn init(telemetry: &Telemetry) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{DELTA},{}", telemetry.level))?;
    // Colours are for a terminal, and for nobody who asks for none (no-color.org).
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty());
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).with_target(true);
    // Tests begin several services in one process: the first one's lines are enough.
    let _ = match telemetry.format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().try_init(),
    };
    Ok(())
}
