//! The table of figures that the demo ends with.

use std::collections::BTreeSet;

use connected_cache_tests::stored::Stored;

/// What one download showed.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What was done.
    pub what: String,
    /// Body bytes that the client received.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Replies that were hits.
    pub hits: u64,
    /// Replies that were misses.
    pub misses: u64,
    /// Bytes that crossed the "internet" meanwhile.
    pub crossed: u64,
}

/// The table, and below it what the cache saved.
pub(super) fn table(rows: &[Row]) -> String {
    let mut lines = vec![format!(
        "{:<44} {:>11} {:>8} {:>9} {:>6} {:>7} {:>13}",
        "download", "received", "seconds", "MB/s", "hits", "misses", "from internet"
    )];
    for row in rows {
        lines.push(format!(
            "{:<44} {:>11} {:>8.2} {:>9.0} {:>6} {:>7} {:>13}",
            row.what,
            megabytes(row.bytes),
            row.seconds,
            millions(row.bytes) / row.seconds.max(0.001),
            row.hits,
            row.misses,
            megabytes(row.crossed)
        ));
    }
    let (received, crossed): (u64, u64) =
        rows.iter().fold((0, 0), |(received, crossed), row| (received + row.bytes, crossed + row.crossed));
    lines.push(format!(
        "clients received {}, the internet carried {}: saved {:.0} %",
        megabytes(received),
        megabytes(crossed),
        100.0 * (1.0 - millions(crossed) / millions(received).max(f64::MIN_POSITIVE))
    ));
    lines.join("\n")
}

/// How many of the stored pieces were checked by hashes of the control plane, and why others were not.
pub(super) fn checked(stored: &[Stored]) -> String {
    let all: u64 = stored.iter().map(|stored| stored.stored_pieces).sum();
    let verifications = || stored.iter().filter_map(|stored| stored.verification.as_ref());
    let checked: u64 = verifications().map(|found| found.authenticated_pieces).sum();
    let reasons: BTreeSet<&str> = verifications().filter_map(|found| found.reason.as_deref()).collect();
    let mut text = format!("{checked} of {all} stored pieces were checked by hashes of the control plane");
    if checked < all && !reasons.is_empty() {
        text.push_str("; not the others: ");
        text.push_str(&reasons.into_iter().collect::<Vec<_>>().join(", "));
    }
    text
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", millions(bytes))
}

/// 10^6 bytes.
#[allow(clippy::cast_precision_loss, reason = "figures for people, three digits of them")]
fn millions(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::{Row, Stored, checked, table};

    fn stored(pieces: u64, verification: &str) -> Stored {
        let text = format!(
            r#"{{"key": "h/a", "pieces": {pieces}, "storedPieces": {pieces}, "verification": {verification}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn checked_pieces_are_counted_over_all_pods_and_others_have_their_reason() {
        let right = stored(3, r#"{"state": "authenticated", "authenticatedPieces": 3, "complete": true}"#);
        let both = [right.clone(), right.clone()];
        assert_eq!(checked(&both), "6 of 6 stored pieces were checked by hashes of the control plane");
        let simple =
            r#"{"state": "simple", "reason": "unreachable", "authenticatedPieces": 0, "complete": false}"#;
        assert_eq!(
            checked(&[right, stored(2, simple)]),
            "3 of 5 stored pieces were checked by hashes of the control plane; not the others: unreachable"
        );
        assert!(checked(&[stored(1, "null")]).starts_with("0 of 1 "));
    }

    #[test]
    fn the_last_line_says_what_was_saved() {
        let row =
            |bytes, crossed| Row { what: "x".to_owned(), bytes, seconds: 2.0, hits: 1, misses: 0, crossed };
        let text = table(&[row(100_000_000, 100_000_000), row(300_000_000, 0)]);
        let last = text.lines().last().unwrap();
        assert_eq!(last, "clients received 400.0 MB, the internet carried 100.0 MB: saved 75 %");
        assert!(text.contains("150"), "300 MB in 2 s are 150 MB/s: {text}");
    }
}
