//! The table of the README, between two marks.

use super::{Report, Row};

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
        let cells = [row.goal.what, &row.aim(), &row.shown(), &outcome(row)].map(escape);
        text.extend(["| ", &cells.join(" | "), " |\n"]);
    }
    text
}

/// The verdict, and beside "not reached" why.
fn outcome(row: &Row) -> String {
    let verdict = row.verdict();
    row.bound().map_or_else(|| verdict.to_owned(), |bound| format!("{verdict}: {bound}"))
}

/// `>=` would begin a quotation in some renderers, and a bar ends a cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace(">=", "≥").replace("<=", "≤")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::goals::GOALS;
    use crate::report::{NOT_EXAMINED, tests::report};

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

    #[test]
    fn a_row_that_is_not_reached_has_its_figure_and_what_bounds_it_and_no_other_row_has() {
        let mut report = report();
        report.rows[0].goal.bound = Some("this must not be shown");
        report.rows[1].goal.bound = Some("hashing | each piece");
        report.rows[2].goal.bound = None;
        let section = section(&report);
        let row = |what: &str| section.lines().find(|line| line.contains(what)).unwrap().to_owned();
        assert!(row("16 connections: throughput / nginx").ends_with("| reached |"), "{section}");
        let missed = row("16 connections: CPU per GB / varnish");
        assert!(
            missed.ends_with("| ≤ 0.75 | 0.80 [0.80-0.80] | not reached: hashing \\| each piece |"),
            "{missed}"
        );
        let unexplained = row("idle keep-alive connection");
        assert!(
            unexplained.ends_with("| 18.4 KiB [18.4-18.4] | not reached: not examined yet |"),
            "{unexplained}"
        );
        assert!(row("over TLS 1.3: CPU").ends_with("| not measured |"), "{section}");
    }

    /// The table is written by a run, but words of a goal may change between two runs.
    #[test]
    fn the_table_of_the_readme_has_the_words_of_the_goals() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let (_, rest) = readme.split_once(BEGIN).unwrap();
        let (table, _) = rest.split_once(END).unwrap();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert_eq!(rows.len(), GOALS.len(), "rows of the table in README.md, and goals");
        for (row, goal) in rows.iter().zip(GOALS) {
            let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
            let [what, aim, figure, outcome] = cells[..] else { panic!("four cells: {row}") };
            let unmeasured = Row::new(goal, Figure::Failed(String::new()));
            assert_eq!([what, aim], [escape(goal.what), escape(&unmeasured.aim())], "{row}");
            if outcome.starts_with("not reached") {
                let words = goal.bound.unwrap_or(NOT_EXAMINED);
                assert_eq!(outcome, format!("not reached: {}", escape(words)), "change the last cell: {row}");
                assert!(figure.contains('['), "a figure with its spread: {row}");
            }
        }
    }
}
