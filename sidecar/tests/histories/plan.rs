//! From a seed to a history: everything that will be done is decided here, before anything is done.

use std::sync::Arc;

use crate::{
    fault::Fault,
    object::{Object, PIECE},
    random::{Random, mix},
};

/// Clients that may be active at once.
pub(crate) const CLIENTS: usize = 4;

/// A whole history.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) objects: Arc<Vec<Object>>,
    pub(crate) steps: Vec<Step>,
    /// The volume holds four pieces at most.
    pub(crate) tiny_volume: bool,
    /// The cache waits for its origin only a second.
    pub(crate) impatient: bool,
    /// The cache may serve stale content for a while.
    pub(crate) allows_stale: bool,
}

/// One thing after the other.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Requests, at once if there are several.
    Visits(Vec<Visit>),
    /// The origin has a new state.
    Replace { object: usize },
    /// The origin will have a new state just before it answers the so-many-th request from now.
    ReplaceLater { object: usize, requests: usize },
    /// The next answers about this object go wrong.
    Break { object: usize, fault: Fault, times: usize },
    /// Nothing goes wrong any more.
    Heal,
    /// The cache ends properly and starts again on the same folder.
    Restart,
}

/// What one client does.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// Whose connection.
    pub(crate) client: usize,
    pub(crate) new_connection: bool,
    /// Several = pipelined.
    pub(crate) asks: Vec<Ask>,
    /// Goes away after so many body bytes.
    pub(crate) leave_after: Option<usize>,
    /// A short body is not acceptable any more.
    pub(crate) is_last: bool,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) object: usize,
    pub(crate) query: usize,
    /// Names the origin by `Host` instead of `cacheHostOrigin`.
    pub(crate) by_host: bool,
    pub(crate) is_head: bool,
    /// Values of `Range` lines.
    pub(crate) ranges: Vec<String>,
    pub(crate) if_range: Option<Validator>,
    pub(crate) if_none_match: Option<Validator>,
    pub(crate) if_modified_since: Option<Validator>,
}

/// A validator that is only known when the request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validator {
    /// The entity tag of the present state; a made-up one if there is none.
    Tag,
    /// The date of the present state; a made-up one if there is none.
    Date,
    /// The entity tag of the first state.
    FirstTag,
    /// The date of the first state.
    FirstDate,
    /// The opaque part of the present tag as a weak one.
    Weakened,
    /// One that no state ever had.
    Unknown,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(mix(seed ^ 0x6869_7374_6f72_7921));
        let (tiny_volume, impatient, allows_stale) =
            (random.percent(3), random.percent(1), random.percent(30));
        let is_large = tiny_volume || random.percent(4);
        let count = random.between(1, 4);
        let mut lengths: Vec<Vec<usize>> = (0..count)
            .map(|index| vec![if is_large && index == 0 { large(&mut random) } else { small(&mut random) }])
            .collect();
        if tiny_volume {
            lengths.extend((0..4).map(|_| vec![PIECE]));
        }
        let mut steps = Vec::new();
        for _ in 0..random.between(5, 15) {
            let step = step(&mut random, &mut lengths, impatient);
            steps.push(step);
        }
        // In the end everything must be had again, whatever happened.
        steps.push(Step::Heal);
        for round in 0..3 {
            for object in 0..count {
                let asks = vec![Ask::whole(object)];
                let visit =
                    Visit { client: 0, new_connection: false, asks, leave_after: None, is_last: round == 2 };
                steps.push(Step::Visits(vec![visit]));
            }
        }
        let objects = lengths.into_iter().enumerate();
        let objects = objects.map(|(number, lengths)| Object::new(number, lengths, &mut random)).collect();
        let objects = Arc::new(objects);
        Self { seed, objects, steps, tiny_volume, impatient, allows_stale }
    }

    /// Whether the origin may answer with a state that was replaced.
    pub(crate) fn has_mirrors(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Break { fault: Fault::LaggingMirror, .. }))
    }
}

impl Ask {
    pub(crate) const fn whole(object: usize) -> Self {
        Self {
            object,
            query: 0,
            by_host: false,
            is_head: false,
            ranges: Vec::new(),
            if_range: None,
            if_none_match: None,
            if_modified_since: None,
        }
    }
}

fn small(random: &mut Random) -> usize {
    const EDGES: [usize; 10] = [0, 1, 2, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_536];
    if random.percent(70) { random.pick(&EDGES) } else { random.below(65_536) }
}

fn large(random: &mut Random) -> usize {
    random.pick(&[PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + PIECE / 2])
}

/// The length of the next state: mostly the same, because that is harder to notice.
fn grow(random: &mut Random, lengths: &mut Vec<usize>) {
    let now = lengths[lengths.len() - 1];
    let next = match random.below(10) {
        0..6 => now,
        6 => now + 1,
        7 => now.saturating_sub(1),
        _ if now >= PIECE - 1 => large(random),
        _ => small(random),
    };
    lengths.push(next);
}

fn step(random: &mut Random, lengths: &mut [Vec<usize>], impatient: bool) -> Step {
    let object = random.below(lengths.len());
    match random.below(100) {
        0..60 => {
            let clients = random.weighted(&[(6, 1), (1, 2), (1, 3), (1, 4)]);
            // Clients that are there at once mostly want the same.
            let shared = random.percent(70).then_some(object);
            Step::Visits((0..clients).map(|client| visit(random, lengths, client, shared)).collect())
        }
        60..68 => {
            grow(random, &mut lengths[object]);
            Step::Replace { object }
        }
        68..72 => {
            grow(random, &mut lengths[object]);
            Step::ReplaceLater { object, requests: random.between(1, 3) }
        }
        72..90 => {
            let fault = Fault::random(random, lengths[object][0], impatient);
            Step::Break { object, fault, times: random.between(1, 3) }
        }
        90..96 => Step::Heal,
        _ => Step::Restart,
    }
}

fn visit(random: &mut Random, lengths: &[Vec<usize>], client: usize, shared: Option<usize>) -> Visit {
    let pipelined = random.percent(8);
    let asks: Vec<Ask> = (0..=usize::from(pipelined))
        .map(|_| {
            let object = shared.unwrap_or_else(|| random.below(lengths.len()));
            ask(random, object, &lengths[object])
        })
        .collect();
    let leaves = !pipelined && random.percent(6);
    let leave_after = leaves.then(|| random.below(lengths[asks[0].object][0] + 1));
    Visit { client, new_connection: random.percent(30), asks, leave_after, is_last: false }
}

fn ask(random: &mut Random, object: usize, lengths: &[usize]) -> Ask {
    let length = random.pick(lengths);
    let mut ask = Ask {
        query: random.below(3),
        by_host: random.percent(10),
        is_head: random.percent(10),
        ..Ask::whole(object)
    };
    if random.percent(65) {
        ask.ranges = ranges(random, length);
    }
    let any = |random: &mut Random| {
        random.weighted(&[
            (6, Validator::Tag),
            (4, Validator::Date),
            (2, Validator::FirstTag),
            (2, Validator::FirstDate),
            (1, Validator::Weakened),
            (2, Validator::Unknown),
        ])
    };
    if !ask.ranges.is_empty() && random.percent(25) {
        ask.if_range = Some(any(random));
    }
    match random.below(100) {
        0..8 => {
            let tags = [Validator::Tag, Validator::FirstTag, Validator::Weakened, Validator::Unknown];
            ask.if_none_match = Some(random.pick(&tags));
        }
        8..14 => ask.if_modified_since = Some(random.pick(&[Validator::Date, Validator::FirstDate])),
        _ => {}
    }
    ask
}

/// Values of `Range` lines for content of this length.
fn ranges(random: &mut Random, length: usize) -> Vec<String> {
    let end = length.max(1);
    let first = offset(random, end);
    let one = match random.below(100) {
        0..35 => format!("bytes={first}-{}", first + random.below(end - first.min(end - 1))),
        35..45 => format!("bytes={first}-"),
        45..57 => format!("bytes=-{}", random.pick(&[0, 1, 2, end / 2, end, end + 1, end + 5000])),
        57..63 => format!("bytes={first}-{}", end + random.below(100_000)),
        // What Windows asks for.
        63..75 => {
            let piece = first / PIECE * PIECE;
            format!("bytes={piece}-{}", piece + PIECE - 1)
        }
        75..78 => "bytes=0-1".to_owned(),
        78..84 => format!("bytes={}-", length + random.below(3)),
        84..88 => format!("bytes={}-{}", length + random.below(5000), length + 6000),
        88..92 => format!("bytes=0-0,{}-{}", first, first + 1),
        92..94 => return vec!["bytes=0-0".to_owned(), format!("bytes={first}-{first}")],
        _ => random.pick(&[
            "bytes=a-b".to_owned(),
            "bytes=".to_owned(),
            format!("bytes={first}"),
            format!("bytes={}-{first}", first + 1),
            "bytes=--1".to_owned(),
            format!("items=0-{first}"),
            "bytes".to_owned(),
            "bytes=-".to_owned(),
        ]),
    };
    vec![one]
}

/// Mostly an edge.
fn offset(random: &mut Random, end: usize) -> usize {
    let edges = [0, 1, end - 1, end / 2, PIECE - 1, PIECE, PIECE + 1, 4096];
    let chosen = if random.percent(60) { random.pick(&edges) } else { random.below(end) };
    chosen.min(end - 1)
}
