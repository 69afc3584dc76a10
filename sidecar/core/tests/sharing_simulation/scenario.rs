//! What happens in the hour, all of it from the seed. Times are in milliseconds from the start.

use std::fmt::{self, Display};

use crate::random::Random;

pub(crate) const ZONES: usize = 3;
pub(crate) const HOUR: u64 = 3_600_000;
const CONTENTS: usize = 120;
const READERS: usize = 2_500;

/// What is done to the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Each pod is down for half a minute, one after the other, and keeps what it has.
    RollingRestart,
    /// Every two minutes a pod leaves for good, and an empty one with another name comes.
    Replacement,
    /// Pods restart while a third of the others learns nothing of it for a minute.
    OldViews,
    /// All of that, and a crash every twenty seconds.
    Everything,
}

impl Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "nothing",
            Self::RollingRestart => "all pods restart in turn",
            Self::Replacement => "30 pods leave, 30 empty ones come",
            Self::OldViews => "restarts, a third sees old members",
            Self::Everything => "all of it, and 180 crashes",
        })
    }
}

/// Something that is done to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Says that it is about to leave, and goes a little later; comes again after so long.
    Restart { down_for: u64 },
    /// Is gone at once; its state is noticed later. Comes again.
    Crash { down_for: u64 },
    /// Leaves for good; an empty one comes.
    Replace,
    /// A third of the pods learns nothing for so long.
    OldViews { lasts: u64 },
}

/// A client who reads a content from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) at: u64,
    pub(crate) content: usize,
    /// Between the arrival of a group and the wish for the next.
    pub(crate) pace: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) pods: usize,
    /// Groups of pieces of each content.
    pub(crate) contents: Vec<u64>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) deeds: Vec<(u64, Deed)>,
    pub(crate) random: Random,
}

impl Scenario {
    pub(crate) fn of(seed: u64, pods: usize, trouble: Trouble) -> Self {
        let mut random = Random(seed);
        // 8 MiB to 192 MiB.
        let contents: Vec<u64> = (0..CONTENTS).map(|_| 1 + random.below(24)).collect();
        // Zipf: the n-th is asked for in proportion to 1/n.
        let mut shares = Vec::with_capacity(CONTENTS);
        let mut sum = 0;
        for rank in 1..=CONTENTS as u64 {
            sum += 1_000_000 / rank;
            shares.push(sum);
        }
        let readers = (0..READERS).map(|_| {
            // Half of them come at once, as after a release.
            let within = if random.one_in(2) { HOUR / 20 } else { HOUR };
            let at = random.below(within);
            let drawn = random.below(sum);
            let content = shares.partition_point(|share| *share <= drawn);
            Reader { at, content, pace: 50 + random.below(2_000) }
        });
        let readers = readers.collect();
        Self { pods, contents, readers, deeds: deeds(pods, trouble), random }
    }
}

fn deeds(pods: usize, trouble: Trouble) -> Vec<(u64, Deed)> {
    let every = |step: u64, deed: Deed| (1..).map(move |n| (n * step, deed)).take_while(|(at, _)| *at < HOUR);
    let restarts = every(HOUR / (pods as u64 + 1), Deed::Restart { down_for: 30_000 });
    let replacements = every(HOUR / 31, Deed::Replace);
    let old_views = every(HOUR / 13, Deed::OldViews { lasts: 60_000 });
    let crashes = every(HOUR / 181, Deed::Crash { down_for: 45_000 });
    match trouble {
        Trouble::None => Vec::new(),
        Trouble::RollingRestart => restarts.collect(),
        Trouble::Replacement => replacements.collect(),
        Trouble::OldViews => restarts.chain(old_views).collect(),
        Trouble::Everything => restarts.chain(replacements).chain(old_views).chain(crashes).collect(),
    }
}
