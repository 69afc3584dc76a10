//! What happens in one life, all of it from the seed.

use std::time::Duration;

use connected_cache_core::swarm::SwarmLayout;

use crate::random::Random;

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Announces everything; every second piece that it sends is wrong.
    Liar,
    /// Announces everything and answers nothing.
    Silent,
    /// Announces everything, answers, and chokes and unchokes at random.
    Flapper,
    /// Sends whatever comes to its mind.
    Vandal,
}

/// Peers on both sides don't reach each other for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partition {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    /// Bit n = side of peer n.
    pub(crate) side: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) layout: SwarmLayout,
    pub(crate) manners: Vec<Manner>,
    /// Bit n = has piece n at the beginning; of honest peers only, the others have everything, or say so.
    pub(crate) held: Vec<u64>,
    /// Bit n = peer n is a member; members have slots of their own among themselves.
    pub(crate) members: u64,
    pub(crate) slots: usize,
    pub(crate) in_flight: usize,
    /// Of each piece that is asked for.
    pub(crate) parts: u32,
    /// One way.
    pub(crate) delay: Duration,
    pub(crate) bytes_per_second: u64,
    /// One frame in so many is held for some seconds; 0 = none.
    pub(crate) holds: u64,
    pub(crate) partitions: Vec<Partition>,
    /// Some connection is cut at these times.
    pub(crate) cuts: Vec<Duration>,
    /// One request in so many finds the piece gone for the moment; 0 = none.
    pub(crate) gone: u64,
    /// From then on there is no more trouble.
    pub(crate) quiet: Duration,
    pub(crate) random: Random,
}

const TROUBLE_SECONDS: u64 = 60;

impl Scenario {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        let piece_count = [1, 2, 5, 9, 24][usize::try_from(random.below(5)).unwrap()];
        let piece_length = 16_384;
        let layout =
            SwarmLayout::new((piece_count - 1) * piece_length + 1 + random.below(piece_length), piece_length)
                .unwrap();
        // The first ones are honest.
        let honest = 2 + random.below(4);
        let others = if random.one_in(2) { 0 } else { random.below(4) };
        let rogues = [Manner::Liar, Manner::Silent, Manner::Flapper, Manner::Vandal];
        let manners: Vec<Manner> = (0..honest)
            .map(|_| Manner::Honest)
            .chain((0..others).map(|_| random.pick(&rogues)).collect::<Vec<_>>())
            .collect();
        let moment = |random: &mut Random| Duration::from_millis(random.below(TROUBLE_SECONDS * 1_000));
        let is_troubled = random.one_in(2);
        let count = |random: &mut Random, most| if is_troubled { random.below(most) } else { 0 };
        let mut partitions = Vec::new();
        for _ in 0..count(&mut random, 3) {
            let from = moment(&mut random);
            let to = from + Duration::from_millis(random.below(20_000));
            partitions.push(Partition { from, to, side: random.next() });
        }
        Self {
            layout,
            held: held(&mut random, honest, piece_count),
            partitions,
            cuts: (0..count(&mut random, 9)).map(|_| moment(&mut random)).collect(),
            manners,
            members: random.next() & random.next(),
            slots: 1 + usize::try_from(random.below(4)).unwrap(),
            in_flight: random.pick(&[1, 2, 8]),
            parts: random.pick(&[1, 1, 3]),
            delay: Duration::from_micros(random.pick(&[100, 5_000, 150_000])),
            bytes_per_second: random.pick(&[8_000, 100_000, 10_000_000, 10_000_000]),
            holds: if is_troubled { random.pick(&[0, 20, 200]) } else { 0 },
            gone: if is_troubled { random.pick(&[0, 10, 50]) } else { 0 },
            quiet: Duration::from_secs(TROUBLE_SECONDS + 20),
            random,
        }
    }
}

/// Every piece is with some honest peer; some have nothing, the first has everything in every second life.
fn held(random: &mut Random, honest: u64, piece_count: u64) -> Vec<u64> {
    let all = (1 << piece_count) - 1;
    let mut held: Vec<u64> =
        (0..honest).map(|_| if random.one_in(2) { 0 } else { random.next() & all }).collect();
    if random.one_in(2) {
        held[0] = all;
    }
    for piece in 0..piece_count {
        if held.iter().all(|held| held >> piece & 1 == 0) {
            let keeper = usize::try_from(random.below(honest)).unwrap();
            held[keeper] |= 1 << piece;
        }
    }
    held
}
