//! The rows of the table: what is measured, and what is aimed at.

use serde::Serialize;

use crate::figure::Spread;
use crate::suite::Suite;

/// One row.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Goal {
    /// What `--only` takes.
    pub(crate) id: &'static str,
    /// What is measured, and in relation to what.
    pub(crate) what: &'static str,
    pub(crate) aim: Aim,
    pub(crate) unit: Unit,
    /// What keeps the figure from the aim, as far as it is known: shown only where the aim is not reached. A sentence's part, in
    /// lower case and without a full stop. `None` = nobody has looked yet.
    #[serde(skip)]
    pub(crate) bound: Option<&'static str>,
    #[serde(skip)]
    pub(crate) suite: Suite,
}

impl Goal {
    const fn bounded_by(self, bound: &'static str) -> Self {
        Self { bound: Some(bound), ..self }
    }
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
    Exactly(f64),
    /// Shown beside the others because it explains them.
    None,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Unit {
    /// Ours through the other's.
    Ratio,
    Kibibytes,
    Mebibytes,
    Seconds,
    Milliseconds,
}

impl Unit {
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Ratio => "",
            Self::Kibibytes => " KiB",
            Self::Mebibytes => " MiB",
            Self::Seconds => " s",
            Self::Milliseconds => " ms",
        }
    }
}

impl Aim {
    /// Whether the median reaches it; what is exact is so in every round. `None` = nothing is aimed at.
    pub(crate) fn is_reached(self, figure: Spread) -> Option<bool> {
        match self {
            Self::AtLeast(aim) => Some(figure.median >= aim),
            Self::AtMost(aim) => Some(figure.median <= aim),
            // A count that is right gives the very number.
            Self::Exactly(aim) => {
                Some([figure.min, figure.max].iter().all(|figure| (figure - aim).abs() < f64::EPSILON))
            }
            Self::None => None,
        }
    }
}

const fn goal(id: &'static str, what: &'static str, aim: Aim, unit: Unit, suite: Suite) -> Goal {
    Goal { id, what, aim, unit, bound: None, suite }
}

use Aim::{AtLeast, AtMost, Exactly};
use Unit::{Kibibytes, Mebibytes, Milliseconds, Ratio, Seconds};

// What bounds more than one row.
const HOT: &str = "almost all of the time is the kernel's; where nginx only sends, we also ask whether the pages are in memory, so that no thread waits for a disk";
const SMALL: &str =
    "the HTTP library and the access rules take about 5 us of each request; nginx parses in place";
const MISS: &str = "38 % of the time is SHA-256 of each piece, which the peers don't do";

/// Every row, in the order of the table.
pub(crate) const GOALS: &[Goal] = &[
    goal(
        "hot-throughput",
        "hot 1 MiB ranges, 16 connections: throughput / nginx",
        AtLeast(1.05),
        Ratio,
        Suite::Hot,
    )
    .bounded_by(HOT),
    goal("hot-cpu", "hot 1 MiB ranges, 16 connections: CPU per GB / nginx", AtMost(0.95), Ratio, Suite::Hot)
        .bounded_by(HOT),
    goal(
        "hot-cpu-varnish",
        "hot 1 MiB ranges, 16 connections: CPU per GB / varnish",
        AtMost(0.75),
        Ratio,
        Suite::Hot,
    ),
    goal(
        "hot-256-cpu-varnish",
        "hot 1 MiB ranges, 256 connections: CPU per GB / varnish",
        AtMost(0.75),
        Ratio,
        Suite::Hot,
    ),
    goal(
        "reread-throughput",
        "hot 1 MiB ranges after both caches were re-read from disk: throughput / nginx",
        AtLeast(1.0),
        Ratio,
        Suite::Cold,
    )
    .bounded_by("not settled; probably pages that are read come in smaller groups than pages that were written, and cost more to send"),
    goal(
        "cold-throughput",
        "the re-reading itself, 1 MiB ranges from disk: throughput / nginx",
        Aim::None,
        Ratio,
        Suite::Cold,
    ),
    goal(
        "small-rate",
        "4 KiB objects, 16 connections: requests per second / nginx",
        AtLeast(1.5),
        Ratio,
        Suite::Small,
    )
    .bounded_by(SMALL),
    goal(
        "small-cpu",
        "4 KiB objects, 16 connections: CPU per request / nginx",
        AtMost(0.65),
        Ratio,
        Suite::Small,
    )
    .bounded_by(SMALL),
    goal(
        "small-5000-rate",
        "4 KiB objects, 5,000 connections: requests per second / nginx",
        AtLeast(1.1),
        Ratio,
        Suite::Small,
    )
    .bounded_by(SMALL),
    goal(
        "miss-throughput",
        "miss, 8 clients, 1 MiB ranges, hashed: throughput / nginx",
        AtLeast(1.6),
        Ratio,
        Suite::Miss,
    )
    .bounded_by(MISS),
    goal(
        "miss-cpu",
        "miss, 8 clients, 1 MiB ranges, hashed: CPU per GB / nginx",
        AtMost(0.65),
        Ratio,
        Suite::Miss,
    )
    .bounded_by(MISS),
    goal(
        "whole-miss",
        "miss, whole object, one client, 1 Gbit/s link: speed / direct download",
        AtLeast(0.95),
        Ratio,
        Suite::WholeMiss,
    ),
    goal(
        "whole-miss-loopback",
        "miss, whole object, one client, origin on loopback: speed / direct download",
        Aim::None,
        Ratio,
        Suite::WholeMiss,
    ),
    goal(
        "collapse-bytes",
        "100 clients at once, 16 MiB object: origin body bytes / object",
        Exactly(1.0),
        Ratio,
        Suite::Collapse,
    ),
    goal(
        "collapse-requests",
        "100 clients at once, 16 MiB object: origin requests / pieces",
        Exactly(1.0),
        Ratio,
        Suite::Collapse,
    )
    .bounded_by("neighbouring pieces come by one request, on purpose: fewer requests for the origin"),
    goal(
        "collapse-time",
        "100 clients at once, 16 MiB object: time / one direct download",
        AtMost(1.05),
        Ratio,
        Suite::Collapse,
    )
    .bounded_by(
        "two pieces are read ahead at first and twice as many with each that was sent, so the 100 ms to the origin are waited for several times",
    ),
    goal(
        "collapse-range",
        "100 clients at once, one 1 MiB range: median latency / varnish",
        AtMost(1.1),
        Ratio,
        Suite::Collapse,
    ),
    goal(
        "group-commit",
        "miss throughput with group commit / without sync",
        AtLeast(0.9),
        Ratio,
        Suite::GroupCommit,
    ),
    goal(
        "idle-memory",
        "anonymous memory of an idle keep-alive connection",
        AtMost(16.0),
        Kibibytes,
        Suite::Idle,
    ),
    goal("start-10k", "start with 1M pieces, 10,000 objects", AtMost(0.2), Seconds, Suite::Start),
    goal("start-1m", "start with 1M pieces, 1M objects", AtMost(1.0), Seconds, Suite::Start)
        .bounded_by("entries of the index are decoded one by one"),
    goal("start-1m-memory", "resident memory after that start", AtMost(300.0), Mebibytes, Suite::Start)
        .bounded_by("128 bytes and an entry of the map for each object"),
    goal(
        "mixed-latency",
        "p99 of hot 4 KiB requests while cold ranges are read / nginx aio threads",
        AtMost(1.0),
        Ratio,
        Suite::Mixed,
    )
    .bounded_by("cold reads run on threads of the same cores"),
    goal(
        "tls-throughput",
        "hot 1 MiB ranges over TLS 1.3: throughput / nginx",
        AtLeast(1.0),
        Ratio,
        Suite::Tls,
    ),
    goal("tls-cpu", "hot 1 MiB ranges over TLS 1.3: CPU per GB / nginx", AtMost(1.0), Ratio, Suite::Tls),
    goal(
        "verified-hit",
        "hot 4 KiB ranges of content checked by piece hashes: requests per second / unchecked",
        AtLeast(1.0),
        Ratio,
        Suite::Verified,
    ),
    goal(
        "verified-miss",
        "miss, whole object of 1 GiB, one client, checked by piece hashes: speed / unchecked",
        AtLeast(0.95),
        Ratio,
        Suite::Verified,
    ),
    goal(
        "verified-hashing",
        "that miss: pieces hashed / pieces stored",
        AtMost(1.0),
        Ratio,
        Suite::Verified,
    ),
    goal(
        "sibling",
        "256 MiB that only another pod has, one client: speed / at that pod",
        AtLeast(0.7),
        Ratio,
        Suite::Sibling,
    )
    .bounded_by("both pods hash every piece and the one that asks also copies and stores it, more than a second of processor time per GB at each of them; the pod that has it only calls sendfile"),
    goal(
        "sibling-first-byte",
        "first byte of a 1 MiB range that its home is fetching from afar, at another pod",
        Aim::None,
        Milliseconds,
        Suite::Sibling,
    ),
    goal(
        "sibling-first-byte-home",
        "first byte of that range at the home",
        Aim::None,
        Milliseconds,
        Suite::Sibling,
    ),
    goal(
        "swarm",
        "one connection between pods, nothing hashed or stored: throughput / plain TCP",
        AtLeast(0.5),
        Ratio,
        Suite::Swarm,
    ),
    goal(
        "swarm-idle",
        "anonymous memory of an idle connection between pods, with its content",
        AtMost(64.0),
        Kibibytes,
        Suite::SwarmIdle,
    ),
];

/// The rows whose id is, or begins with, one of these words; all when there are none.
pub(crate) fn chosen(only: &[String]) -> Vec<&'static Goal> {
    let wanted = |goal: &&Goal| only.is_empty() || only.iter().any(|word| goal.id.starts_with(word.as_str()));
    GOALS.iter().filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_apart() {
        let mut ids: Vec<_> = GOALS.iter().map(|goal| goal.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), GOALS.len());
    }

    #[test]
    fn a_word_chooses_the_rows_that_begin_with_it() {
        let ids = |only: &[&str]| {
            let only: Vec<_> = only.iter().map(|&word| word.to_owned()).collect();
            chosen(&only).iter().map(|goal| goal.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&["start-10k", "tls"]), ["start-10k", "tls-throughput", "tls-cpu"]);
        assert_eq!(ids(&[]).len(), GOALS.len());
        assert!(ids(&["no-such-row"]).is_empty());
    }

    #[test]
    fn an_aim_is_reached_by_the_median_at_its_very_number() {
        let spread = |median| Spread { median, min: 0.0, max: 9.0 };
        assert_eq!(AtLeast(1.05).is_reached(spread(1.05)), Some(true));
        assert_eq!(AtLeast(1.05).is_reached(spread(1.04)), Some(false));
        assert_eq!(AtMost(0.2).is_reached(spread(0.21)), Some(false));
        assert_eq!(Aim::None.is_reached(spread(5.0)), None);
    }

    #[test]
    fn what_is_exact_is_so_in_every_round() {
        let spread = |max| Spread { median: 1.0, min: 1.0, max };
        assert_eq!(Exactly(1.0).is_reached(spread(1.0)), Some(true));
        assert_eq!(Exactly(1.0).is_reached(spread(1.000_000_1)), Some(false));
    }
}
