//! The chart: a bar for each ratio, beside a line at 1 (the other one) and a mark at the aim. SVG that follows the reader's
//! light or dark scheme.

use super::{Report, Row};
use crate::goals::{Aim, Unit};

const WIDTH: f64 = 1000.0;
/// Where the bars begin; before it stand the words.
const LEFT: f64 = 550.0;
/// Behind it stand the figures.
const RIGHT: f64 = 870.0;
const LINE: f64 = 24.0;
const BAR: f64 = 14.0;
/// A bar that would be longer is cut.
const MOST: f64 = 2.5;

pub(super) fn chart(report: &Report) -> String {
    let ratios: Vec<&Row> =
        report.rows.iter().filter(|row| row.goal.unit == Unit::Ratio && row.median.is_some()).collect();
    let (more, less): (Vec<&Row>, Vec<&Row>) =
        ratios.into_iter().partition(|row| matches!(row.goal.aim, Aim::AtLeast(_) | Aim::None));
    let mut body = String::new();
    let mut y = 30.0;
    for (title, rows) in [("more is better", more), ("less is better", less)] {
        if rows.is_empty() {
            continue;
        }
        body.push_str(&text(12.0, y, "title", "start", title));
        let top = y + 8.0;
        for row in &rows {
            y += LINE;
            body.push_str(&bar(row, y));
        }
        let one = place(1.0);
        body.push_str(&line(one, top, y + 6.0, "one"));
        body.push_str(&text(one, y + 20.0, "small", "middle", "1 = the other"));
        y += 52.0;
    }
    let legend = format!(
        "bar: median of {} rounds; thin line: lowest to highest round; blue: aim, green where it is reached; {}, {}",
        report.rounds, report.machine.processor, report.machine.kernel
    );
    body.push_str(&text(12.0, y - 10.0, "small", "start", &legend));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" role=\"img\">\n\
         <title>The sidecar in relation to others, measured in one run</title>\n{STYLE}{body}</svg>\n"
    )
}

const STYLE: &str = "<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .small { font-size: 11px; fill: #59636e }
.reached { fill: #2da44e } .not { fill: #bf8700 } .none { fill: #8c959f }
.spread, .one { stroke: #1f2328; stroke-width: 1 } .one { stroke-dasharray: 3 3 } .aim { stroke: #0969da; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9198a1 }
.reached { fill: #3fb950 } .not { fill: #d29922 } .none { fill: #6e7681 }
.spread, .one { stroke: #e6edf3 } .aim { stroke: #58a6ff }
}
</style>
";

/// One row: words, bar, spread of the rounds, aim, figure.
fn bar(row: &Row, y: f64) -> String {
    let (median, min, max) =
        (row.median.unwrap_or_default(), row.min.unwrap_or_default(), row.max.unwrap_or_default());
    let class = match row.reached {
        Some(true) => "reached",
        Some(false) => "not",
        None => "none",
    };
    let top = y - BAR + 3.0;
    let mut drawn = text(LEFT - 10.0, y, "what", "end", row.goal.what);
    drawn.push_str(&rectangle(place(median), top, class));
    drawn.push_str(&spread(place(min), place(max), top + BAR / 2.0));
    if let Aim::AtLeast(aim) | Aim::AtMost(aim) | Aim::Exactly(aim) = row.goal.aim {
        drawn.push_str(&line(place(aim), top - 2.0, top + BAR + 2.0, "aim"));
    }
    drawn.push_str(&text(RIGHT + 10.0, y, "figure", "start", &row.shown()));
    drawn
}

/// Where a ratio lies on the scale.
fn place(ratio: f64) -> f64 {
    LEFT + ratio.clamp(0.0, MOST) / MOST * (RIGHT - LEFT)
}

/// From the begin of the scale to `end`.
fn rectangle(end: f64, top: f64, class: &str) -> String {
    let width = end - LEFT;
    format!(
        "<rect class=\"{class}\" x=\"{LEFT:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR:.1}\" rx=\"2\"/>\n"
    )
}

/// From the lowest to the highest round.
fn spread(from: f64, to: f64, y: f64) -> String {
    format!("<path class=\"spread\" d=\"M{from:.1} {y:.1}H{to:.1}\"/>\n")
}

fn line(x: f64, from: f64, to: f64, class: &str) -> String {
    format!("<path class=\"{class}\" d=\"M{x:.1} {from:.1}V{to:.1}\"/>\n")
}

fn text(x: f64, y: f64, class: &str, anchor: &str, words: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
        words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn only_ratios_with_a_figure_have_a_bar() {
        let svg = chart(&report());
        assert_eq!(svg.matches("<rect ").count(), 2, "{svg}");
        assert!(svg.contains("class=\"reached\"") && svg.contains("class=\"not\""), "{svg}");
        assert!(!svg.contains("TLS"), "a row without a figure: {svg}");
    }

    #[test]
    fn bars_grow_with_the_ratio_and_stay_inside() {
        assert!((place(0.0) - LEFT).abs() < 1e-9);
        assert!(place(1.0) < place(1.5));
        assert!((place(80.0) - RIGHT).abs() < 1e-9);
    }

    #[test]
    fn words_are_escaped_and_every_element_is_closed() {
        let mut report = report();
        report.machine.processor = "A & B <C>".to_owned();
        let svg = chart(&report);
        assert!(svg.contains("A &amp; B &lt;C&gt;"), "{svg}");
        assert_eq!(svg.matches("<text ").count(), svg.matches("</text>").count());
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
