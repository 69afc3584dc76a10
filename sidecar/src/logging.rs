//! Logs: one JSON object a line on standard output, or text for people.

use connected_cache_config::{Log, LogFormat};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Lines that wait to be written. Beyond it they are lost, because no client may wait for whoever reads the log.
const LINES_WAITING: usize = 8192;

/// Writes what is still waiting when it is dropped.
#[derive(Debug)]
#[must_use = "lines are lost when it is dropped before the end"]
pub struct LogGuard(#[allow(dead_code, reason = "held for its drop")] WorkerGuard);

/// Begins to log; call once per process. The HTTP library below warns about what clients do wrong, which is not our news.
pub fn start(log: &Log) -> LogGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stdout());
    let filter = EnvFilter::new(format!("{},hyper=error,hyper_util=error,h2=error", log.level.as_str()));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(writer)).try_init()
        }
        LogFormat::Text => registry.with(fmt::layer().with_writer(writer)).try_init(),
    };
    // Somebody else in this process logs already; that is as good.
    let _ = started;
    LogGuard(guard)
}
