//! The figure of a row: its median over the rounds, and how far the rounds lie apart.

use std::collections::BTreeMap;

use serde::Serialize;

/// What a row ended with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Figure {
    Measured {
        /// One for each round.
        rounds: Vec<f64>,
        /// The absolute figures behind it, by who gave them: medians, with their unit.
        behind: String,
    },
    /// It can't be measured here, and why.
    Missing(String),
    /// Measuring it failed, and how.
    Failed(String),
}

/// Figures by the id of their row.
pub(crate) type Figures = BTreeMap<&'static str, Figure>;

/// The middle and the ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of no figures.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }
}

/// The median of figures; 0 of none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    Spread::of(figures).map_or(0.0, |spread| spread.median)
}

impl Figure {
    pub(crate) fn spread(&self) -> Option<Spread> {
        match self {
            Self::Measured { rounds, .. } => Spread::of(rounds),
            Self::Missing(_) | Self::Failed(_) => None,
        }
    }
}

/// Figures of two sides that were measured in turns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    ours: Vec<f64>,
    others: Vec<f64>,
}

impl Pairs {
    /// The figures of one round.
    pub(crate) fn add(&mut self, ours: f64, other: f64) {
        self.ours.push(ours);
        self.others.push(other);
    }

    /// The ratios, each of two figures of the same round.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.others).map(|(ours, other)| ours / other).collect()
    }

    /// The row: ratios, and the medians behind them as `scale` shows them.
    pub(crate) fn figure(&self, other: &str, show: impl Fn(f64) -> String) -> Figure {
        let behind = format!("{}, {other} {}", show(median(&self.ours)), show(median(&self.others)));
        Figure::Measured { rounds: self.ratios(), behind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        let odd = Spread { median: 2.0, min: 1.0, max: 9.0 };
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0]), Some(odd));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_are_of_figures_of_the_same_round() {
        let mut pairs = Pairs::default();
        pairs.add(10.0, 5.0);
        pairs.add(1.0, 4.0);
        assert_eq!(pairs.ratios(), [2.0, 0.25]);
        let Figure::Measured { behind, .. } = pairs.figure("nginx", |figure| format!("{figure:.1} MB/s"))
        else {
            panic!("pairs are measured")
        };
        assert_eq!(behind, "5.5 MB/s, nginx 4.5 MB/s");
    }
}
