//! The table for a terminal.

use super::{Report, Row};

pub(super) fn table(report: &Report) -> String {
    let mut rows: Vec<[String; 5]> = vec![["row", "what", "aim", "figure", "verdict"].map(str::to_owned)];
    rows.extend(report.rows.iter().map(|row| {
        [row.goal.id.to_owned(), row.goal.what.to_owned(), row.aim(), row.shown(), row.verdict().to_owned()]
    }));
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let remarks = std::iter::once("behind it".to_owned()).chain(report.rows.iter().map(remark));
    let lines = rows.iter().zip(remarks).map(|(row, remark)| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}  {remark}", cells.join("  ")).trim_end().to_owned()
    });
    head(report).into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

/// The absolute figures, and what keeps them from the aim.
fn remark(row: &Row) -> String {
    let parts = [Some(row.remark()), row.bound()];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn head(report: &Report) -> Vec<String> {
    let machine = &report.machine;
    let versions: Vec<String> =
        report.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    vec![
        format!("{}, {}, {}", machine.processor, machine.kernel, machine.file_system),
        format!(
            "server on core {}, load and origin on core {}, congestion control {}, load average before {:.2}, {} rounds",
            machine.cores.server,
            machine.cores.load,
            machine.congestion_control,
            machine.load_average,
            report.rounds
        ),
        versions.join(", "),
        "figures are median [min-max] of the rounds; a ratio is taken of two figures of the same round"
            .to_owned(),
        String::new(),
    ]
}

#[cfg(test)]
mod tests {
    use crate::report::tests::report;

    #[test]
    fn rows_show_aim_median_spread_and_verdict() {
        let text = super::table(&report());
        let row = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
        let hot = row("hot-throughput ");
        for part in [">= 1.05", "1.10 [1.06-1.20]", " reached ", "8 MB/s, x 7 MB/s"] {
            assert!(hot.contains(part), "{part} in {hot}");
        }
        // Its figure in the report is one that misses; nobody has looked why.
        assert!(row("hot-cpu-varnish ").ends_with("not reached   8 MB/s, x 7 MB/s; not examined yet"));
        assert!(!hot.contains("boxes its body"), "{hot}");
        assert!(row("idle-memory ").contains("<= 16.0 KiB"));
        assert!(row("tls-cpu ").contains("not measured  no listener <yet> & so"));
    }
}
