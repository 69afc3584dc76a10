//! Logs: one JSON object a line on standard output, or text for people.

use connected_cache_config::{Log, LogFormat};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Begins to log; call once per process. The HTTP library below warns about what clients do wrong, which is not our news.
pub fn start(log: &Log) {
    let filter = EnvFilter::new(format!("{},hyper=error,hyper_util=error", log.level.as_str()));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(fmt::layer()).try_init(),
    };
    // Somebody else in this process logs already; that is as good.
    let _ = started;
}
