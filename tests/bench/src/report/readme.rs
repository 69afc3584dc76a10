//! The table of the README, between two marks.

use super::Report;

const BEGIN: &str = "<!-- benchmarks: begin -->\n";
const END: &str = "<!-- benchmarks: end -->";

/// The text with another table between its marks; `None` when it has none.
pub(super) fn replace(text: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{section}{END}{after}"))
}

/// Machine, and the table.
pub(super) fn section(report: &Report) -> String {
    let machine = &report.machine;
    let versions: Vec<String> =
        report.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let mut text = format!(
        "{}, {}, {}, load average before the run {:.2}; {}; median of {} rounds [min-max].\n\n| measured | aim | figure | |\n|---|---|---|---|\n",
        machine.processor,
        machine.kernel,
        machine.file_system,
        machine.load_average,
        versions.join(", "),
        report.rounds
    );
    for row in &report.rows {
        let cells = [row.goal.what, &row.aim(), &row.shown(), row.verdict()].map(escape);
        text.extend(["| ", &cells.join(" | "), " |\n"]);
    }
    text
}

/// `>=` would begin a quotation in some renderers, and a bar ends a cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace(">=", "≥").replace("<=", "≤")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let text = format!("# A\n{BEGIN}old\n{END}\nrest\n");
        assert_eq!(replace(&text, "new\n").unwrap(), format!("# A\n{BEGIN}new\n{END}\nrest\n"));
        assert_eq!(replace("# A\n", "new\n"), None);
    }

    #[test]
    fn every_row_has_four_cells() {
        let section = section(&report());
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 2 + report().rows.len());
        assert!(rows.iter().all(|row| row.matches('|').count() == 5), "{rows:?}");
        assert!(section.contains("| ≥ 1.05 | 1.10 [1.06-1.20] | reached |"), "{section}");
    }
}
