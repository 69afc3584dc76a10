//! What the demo prints.

use connected_cache_mock_control_plane::client::Totals;

use super::stage::{ORIGIN_HOST, Stage};

/// One step.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) pod: String,
    pub(super) asked: &'static str,
    pub(super) totals: Totals,
    pub(super) internet_bytes: u64,
}

impl Row {
    pub(super) fn print(&self) {
        let totals = &self.totals;
        println!(
            "{:<8}{:<24}{:>10}{:>9.2} s{:>9.1}{:>7}{:>7}{:>9}{:>16}",
            self.pod,
            self.asked,
            size(totals.bytes),
            totals.seconds,
            totals.megabytes_per_second(),
            totals.hits,
            totals.misses,
            totals.partials,
            size(self.internet_bytes),
        );
    }
}

/// What is going to happen, and the head of the table.
pub(super) fn introduction(stage: &Stage) {
    println!(
        "{} objects, {} in all, offered by a mock origin as {ORIGIN_HOST}. Each cache is asked for all of them.\n",
        stage.objects().len(),
        size(stage.content_bytes()),
    );
    println!(
        "{:<8}{:<24}{:>10}{:>11}{:>9}{:>7}{:>7}{:>9}{:>16}",
        "cache", "asked for", "received", "time", "MB/s", "hits", "misses", "partial", "from internet"
    );
}

/// What it was good for.
pub(super) fn conclusion(rows: &[Row]) {
    let received: u64 = rows.iter().map(|row| row.totals.bytes).sum();
    let internet: u64 = rows.iter().map(|row| row.internet_bytes).sum();
    println!(
        "\nclients received {}, of which {} crossed the internet: {:.1} % saved",
        size(received),
        size(internet),
        saved_percent(received, internet),
    );
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people, with one decimal")]
fn saved_percent(received: u64, internet: u64) -> f64 {
    if received == 0 { 0.0 } else { (1.0 - internet as f64 / received as f64) * 100.0 }
}

/// Decimal units, as disks and links are sold.
#[expect(clippy::cast_precision_loss, reason = "a figure for people, with one decimal")]
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
