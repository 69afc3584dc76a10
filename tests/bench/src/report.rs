//! What a run ends with: a table, JSON, a chart, and the rows of the README.

mod chart;
mod readme;
mod table;

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::figure::{Figure, Figures};
use crate::goals::{Aim, Goal, Unit};
use crate::machine::Machine;

/// Why an aim is not reached when nobody knows.
const NOT_EXAMINED: &str = "not examined yet";

/// A finished run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// What was measured, and its version.
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) rounds: usize,
    pub(crate) rows: Vec<Row>,
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) goal: Goal,
    pub(crate) figure: Figure,
    pub(crate) median: Option<f64>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    /// `None` = there is no aim, or no figure.
    pub(crate) reached: Option<bool>,
}

impl Row {
    pub(crate) fn new(goal: &Goal, figure: Figure) -> Self {
        let spread = figure.spread();
        Self {
            goal: *goal,
            median: spread.map(|spread| spread.median),
            min: spread.map(|spread| spread.min),
            max: spread.map(|spread| spread.max),
            reached: spread.and_then(|spread| goal.aim.is_reached(spread)),
            figure,
        }
    }

    /// What is aimed at.
    fn aim(&self) -> String {
        let unit = self.goal.unit;
        match self.goal.aim {
            Aim::AtLeast(aim) => format!(">= {}", number(unit, aim)),
            Aim::AtMost(aim) => format!("<= {}", number(unit, aim)),
            Aim::Exactly(aim) => format!("= {}", number(unit, aim)),
            Aim::None => "-".to_owned(),
        }
    }

    /// The median and how far the rounds lie apart.
    fn shown(&self) -> String {
        let unit = self.goal.unit;
        match (self.median, self.min, self.max) {
            (Some(median), Some(min), Some(max)) => {
                format!("{} [{}-{}]", number(unit, median), plain(unit, min), plain(unit, max))
            }
            _ => "-".to_owned(),
        }
    }

    fn verdict(&self) -> &'static str {
        match (&self.figure, self.reached) {
            (Figure::Missing(_), _) => "not measured",
            (Figure::Failed(_), _) => "FAILED",
            (Figure::Measured { .. }, Some(true)) => "reached",
            (Figure::Measured { .. }, Some(false)) => "not reached",
            (Figure::Measured { .. }, None) => "-",
        }
    }

    /// What keeps a measured figure from its aim; `None` where it is reached, or nothing is aimed at.
    fn bound(&self) -> Option<&'static str> {
        (self.reached == Some(false)).then(|| self.goal.bound.unwrap_or(NOT_EXAMINED))
    }

    /// The absolute figures, or why there are none.
    fn remark(&self) -> &str {
        match &self.figure {
            Figure::Measured { behind, .. } => behind,
            Figure::Missing(reason) | Figure::Failed(reason) => reason,
        }
    }
}

impl Report {
    pub(crate) fn rows(goals: &[&'static Goal], figures: &Figures) -> Vec<Row> {
        let missing = || Figure::Failed("nothing was measured".to_owned());
        goals
            .iter()
            .map(|goal| Row::new(goal, figures.get(goal.id).cloned().unwrap_or_else(missing)))
            .collect()
    }

    /// Rows whose measuring failed.
    pub(crate) fn failed(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.figure, Figure::Failed(_))).count()
    }

    /// For people at a terminal.
    pub(crate) fn table(&self) -> String {
        table::table(self)
    }

    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        write(path, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    pub(crate) fn write_chart(&self, path: &Path) -> Result<()> {
        write(path, &chart::chart(self))
    }

    /// Replaces the table between the marks of a README.
    pub(crate) fn write_readme(&self, path: &Path) -> Result<()> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("unable to read {}", path.display()))?;
        let text = readme::replace(&text, &readme::section(self))
            .with_context(|| format!("{} has no marks for the table", path.display()))?;
        write(path, &text)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("unable to write {}", path.display()))
}

/// A figure with its unit.
fn number(unit: Unit, figure: f64) -> String {
    format!("{}{}", plain(unit, figure), unit.suffix())
}

/// Three digits of a figure, more or less.
fn plain(unit: Unit, figure: f64) -> String {
    match unit {
        Unit::Mebibytes => format!("{figure:.0}"),
        Unit::Kibibytes | Unit::Milliseconds => format!("{figure:.1}"),
        Unit::Ratio | Unit::Seconds => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals::{GOALS, chosen};
    use crate::machine::Cores;

    /// Two measured rows, one reached and one not, and one without a figure.
    pub(super) fn report() -> Report {
        let only = ["hot-throughput", "hot-cpu-varnish", "idle-memory", "tls-cpu"].map(str::to_owned);
        let goals = chosen(&only);
        let measured =
            |rounds: &[f64]| Figure::Measured { rounds: rounds.to_vec(), behind: "8 MB/s, x 7 MB/s".into() };
        let figures = Figures::from([
            ("hot-throughput", measured(&[1.06, 1.20, 1.10])),
            ("hot-cpu-varnish", measured(&[0.8])),
            ("idle-memory", measured(&[18.4])),
            ("tls-cpu", Figure::Missing("no listener <yet> & so".to_owned())),
        ]);
        Report {
            machine: Machine {
                processor: "Some CPU".into(),
                cores: Cores { server: 0, load: 1 },
                kernel: "Linux 6".into(),
                congestion_control: "cubic".into(),
                file_system: "ext4".into(),
                load_average: 0.25,
            },
            versions: vec![("nginx".into(), "1.22".into())],
            rounds: 3,
            rows: Report::rows(&goals, &figures),
        }
    }

    #[test]
    fn every_goal_has_a_row_even_without_a_figure() {
        let goals = chosen(&[]);
        let rows = Report::rows(&goals, &Figures::new());
        assert_eq!(rows.len(), GOALS.len());
        assert!(rows.iter().all(|row| row.verdict() == "FAILED"));
    }

    #[test]
    fn json_carries_rounds_spread_and_verdict() {
        let json = serde_json::to_value(report()).unwrap();
        let row = &json["rows"][0];
        assert_eq!(row["id"], "hot-throughput");
        assert_eq!(row["aim"]["atLeast"], 1.05);
        assert_eq!(row["figure"]["measured"]["rounds"], serde_json::json!([1.06, 1.2, 1.1]));
        assert_eq!((&row["median"], &row["min"], &row["max"]), (&1.1.into(), &1.06.into(), &1.2.into()));
        assert_eq!(row["reached"], true);
        let last = json["rows"].as_array().unwrap().last().unwrap();
        assert_eq!(last["figure"]["missing"], "no listener <yet> & so");
        assert!(last["reached"].is_null() && last["median"].is_null());
    }
}
