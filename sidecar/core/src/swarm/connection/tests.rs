//! One rule each; what two ends do to each other is in the simulation.

use connected_cache_wire::swarm::{Message, PieceRange};

use super::*;

const LIMITS: ConnectionLimits = ConnectionLimits {
    requests_in_flight: 8,
    max_queued_requests: 64,
    keep_alive: Duration::from_mins(1),
    idle: Duration::from_mins(3),
    stall: Duration::from_secs(1),
};
const PIECES: u32 = 100;
const LENGTH: u32 = 16;

fn layout() -> SwarmLayout {
    SwarmLayout::new(u64::from(PIECES * LENGTH), u64::from(LENGTH)).unwrap()
}

fn whole(piece: u32) -> PieceRange {
    PieceRange { piece, begin: 0, length: LENGTH }
}

/// A connection, what it sent and what it told, at a time that the test moves.
struct Lab {
    connection: Connection,
    now: Instant,
}

impl Lab {
    fn new() -> Self {
        Self::with(&Bitfield::new(PIECES))
    }

    fn with(ours: &Bitfield) -> Self {
        let now = Instant::now();
        Self { connection: Connection::new(layout(), ours, LIMITS, now), now }
    }

    /// They unchoked us, we unchoked them, and both are told.
    fn open() -> Self {
        let mut lab = Self::new();
        lab.connection.allow(true);
        lab.take(&Message::Unchoke);
        assert_eq!(lab.sent(), [Message::Unchoke]);
        assert_eq!(lab.told(), [Event::Unchoked]);
        lab
    }

    #[track_caller]
    fn take(&mut self, message: &Message) {
        self.connection.receive(message, self.now).unwrap();
    }

    fn violation(&mut self, message: &Message) -> Violation {
        self.connection.receive(message, self.now).unwrap_err()
    }

    fn sent(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.connection.poll_message()).collect()
    }

    fn told(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.connection.poll_event()).collect()
    }

    fn request(&mut self, pieces: impl IntoIterator<Item = u32>) {
        for piece in pieces {
            assert!(self.connection.request(whole(piece), self.now), "{piece}");
        }
    }

    /// Moves the time and handles what is due then.
    fn after(&mut self, wait: Duration) -> Result<(), CloseReason> {
        self.now += wait;
        self.connection.handle_timeout(self.now)
    }
}

fn requests(pieces: impl IntoIterator<Item = u32>) -> Vec<Message> {
    pieces.into_iter().map(|piece| Message::Request(whole(piece))).collect()
}

#[test]
fn our_pieces_are_told_first_and_new_ones_as_they_come() {
    let mut ours = Bitfield::new(PIECES);
    ours.set(3);
    let mut lab = Lab::with(&ours);
    lab.connection.announce(4);
    lab.connection.allow(true);
    ours.set(4);
    assert_eq!(lab.sent(), [Message::Bitfield(ours.to_bytes()), Message::Unchoke]);
    lab.connection.announce(4);
    lab.connection.announce(5);
    assert_eq!(lab.sent(), [Message::Have(5)]);
}

#[test]
fn who_has_nothing_sends_no_bitfield_later_either() {
    let mut lab = Lab::new();
    assert_eq!(lab.sent(), []);
    lab.connection.announce(1);
    assert_eq!(lab.sent(), [Message::Have(1)]);
}

#[test]
fn a_bitfield_comes_once_and_first() {
    let bitfield = Message::Bitfield(Bitfield::full(PIECES).to_bytes());
    let mut lab = Lab::new();
    lab.take(&Message::KeepAlive);
    lab.take(&Message::Filler(9));
    lab.take(&bitfield);
    assert_eq!(lab.told(), [Event::Bitfield]);
    assert!(lab.connection.they_have(PIECES - 1) && !lab.connection.they_have(PIECES));
    assert_eq!(lab.violation(&bitfield), Violation::BitfieldLate);

    let mut lab = Lab::new();
    lab.take(&Message::Interested);
    assert_eq!(lab.violation(&bitfield), Violation::BitfieldLate);
}

#[test]
fn requests_wait_for_the_unchoke_and_for_those_in_flight() {
    let mut lab = Lab::new();
    lab.request(0..10);
    assert!(!lab.connection.request(whole(0), lab.now), "asked for already");
    assert_eq!(lab.sent(), [Message::Interested]);
    lab.take(&Message::Unchoke);
    assert_eq!(lab.sent(), requests(0..8));
    assert!(lab.connection.expects(whole(7)) && !lab.connection.expects(whole(8)));
    lab.take(&Message::Piece(whole(0)));
    assert_eq!(lab.sent(), requests([8]));
    assert_eq!(lab.told(), [Event::Unchoked, Event::Piece(whole(0))]);
}

#[test]
fn data_that_was_not_requested_is_a_violation() {
    let mut lab = Lab::open();
    lab.request([0]);
    lab.sent();
    let half = PieceRange { length: LENGTH / 2, ..whole(0) };
    assert_eq!(lab.violation(&Message::Piece(half)), Violation::UnrequestedData(half));
    lab.take(&Message::Piece(whole(0)));
    assert_eq!(lab.violation(&Message::Piece(whole(0))), Violation::UnrequestedData(whole(0)));
}

#[test]
fn data_of_a_request_that_we_took_back_is_thrown_away_without_blame() {
    let mut lab = Lab::open();
    lab.request([0, 1]);
    lab.sent();
    lab.connection.cancel(whole(0));
    assert_eq!(lab.connection.expectation(whole(0)), Expectation::Forgotten);
    assert_eq!(lab.sent(), [Message::Cancel(whole(0))]);
    // Asked for again: twice the same may come now.
    lab.request([0]);
    assert_eq!(lab.sent(), requests([0]));
    lab.take(&Message::Piece(whole(0)));
    lab.take(&Message::Piece(whole(0)));
    assert_eq!(lab.told(), [Event::Piece(whole(0))]);
    assert_eq!(lab.violation(&Message::Piece(whole(0))), Violation::UnrequestedData(whole(0)));
}

#[test]
fn what_was_taken_back_long_ago_does_not_excuse_data() {
    let mut lab = Lab::open();
    lab.request([0]);
    lab.sent();
    lab.connection.cancel(whole(0));
    for piece in 1..10 {
        lab.request([piece]);
        lab.sent();
        lab.take(&Message::Piece(whole(piece)));
    }
    assert_eq!(lab.violation(&Message::Piece(whole(0))), Violation::UnrequestedData(whole(0)));
}

#[test]
fn a_choke_loses_what_was_sent_and_keeps_what_waits() {
    let mut lab = Lab::open();
    lab.request(0..10);
    lab.sent();
    lab.connection.cancel(whole(7));
    lab.take(&Message::Choke);
    lab.take(&Message::Choke);
    assert_eq!(lab.told(), [Event::Choked { lost: (0..7).map(whole).collect() }]);
    assert_eq!(lab.sent(), [], "nothing is asked or taken back while we are choked");
    // What was on its way before the choke.
    lab.take(&Message::Piece(whole(0)));
    lab.take(&Message::Unchoke);
    assert_eq!(lab.told(), [Event::Unchoked]);
    assert_eq!(lab.sent(), requests([8, 9]));
}

#[test]
fn we_are_interested_as_long_as_something_is_asked_for_or_to_be_had() {
    let mut lab = Lab::open();
    lab.request([0]);
    assert_eq!(lab.sent()[0], Message::Interested);
    lab.take(&Message::Piece(whole(0)));
    assert_eq!(lab.sent(), [Message::NotInterested]);
    lab.take(&Message::Have(5));
    assert_eq!(lab.sent(), []);
    lab.connection.seek(true);
    assert_eq!(lab.sent(), [Message::Interested]);
    lab.connection.announce(5);
    assert_eq!(lab.sent(), [Message::NotInterested, Message::Have(5)]);
}

#[test]
fn requests_are_answered_in_order_and_only_while_they_are_unchoked() {
    let mut lab = Lab::new();
    lab.take(&Message::Interested);
    lab.take(&Message::Request(whole(0)));
    assert!(lab.connection.wants_slot());
    assert_eq!(lab.connection.next_upload(), None, "choked");
    lab.connection.allow(true);
    lab.take(&Message::Request(whole(0)));
    assert_eq!(lab.connection.next_upload(), None, "not told yet, so it was sent before");
    assert_eq!(lab.sent(), [Message::Unchoke]);
    for piece in [2, 1, 3] {
        lab.take(&Message::Request(whole(piece)));
    }
    lab.take(&Message::Cancel(whole(1)));
    assert_eq!(lab.connection.next_upload(), Some(whole(2)));
    assert_eq!(lab.connection.next_upload(), Some(whole(3)));
    assert_eq!(lab.connection.next_upload(), None);
    assert!(!lab.connection.wants_slot());
}

#[test]
fn a_choke_goes_out_behind_the_data_of_what_is_being_answered() {
    let mut lab = Lab::open();
    lab.take(&Message::Request(whole(0)));
    lab.take(&Message::Request(whole(1)));
    assert_eq!(lab.connection.next_upload(), Some(whole(0)));
    lab.connection.allow(false);
    assert_eq!(lab.sent(), []);
    assert_eq!(lab.connection.next_upload(), None);
    lab.connection.uploaded(whole(0), lab.now);
    assert_eq!(lab.sent(), [Message::Choke]);
}

#[test]
fn a_refused_request_is_taken_back_by_a_choke_when_the_others_are_answered() {
    let mut lab = Lab::open();
    lab.take(&Message::Request(whole(0)));
    lab.take(&Message::Request(whole(1)));
    lab.connection.next_upload();
    lab.connection.refuse_upload(whole(0));
    assert_eq!(lab.sent(), []);
    lab.connection.next_upload();
    assert_eq!(lab.sent(), []);
    lab.connection.uploaded(whole(1), lab.now);
    assert_eq!(lab.sent(), [Message::Choke, Message::Unchoke]);
    // Cancelled by them in the meantime: they know.
    lab.take(&Message::Request(whole(2)));
    lab.connection.next_upload();
    lab.take(&Message::Cancel(whole(2)));
    assert!(!lab.connection.is_wanted(whole(2)));
    lab.connection.refuse_upload(whole(2));
    assert_eq!(lab.sent(), []);
}

#[test]
fn more_requests_than_are_kept_for_one_peer_are_a_violation() {
    let mut lab = Lab::open();
    (0..64).for_each(|piece| lab.take(&Message::Request(whole(piece))));
    assert_eq!(lab.violation(&Message::Request(whole(64))), Violation::TooManyRequests { limit: 64 });
    lab.connection.next_upload();
    lab.connection.uploaded(whole(0), lab.now);
    lab.take(&Message::Request(whole(64)));
}

#[test]
fn requests_and_haves_outside_of_the_content_are_violations() {
    let mut lab = Lab::new();
    for (begin, length) in [(0, 0), (0, LENGTH + 1), (LENGTH, 1), (u32::MAX, u32::MAX)] {
        let range = PieceRange { piece: 0, begin, length };
        assert_eq!(lab.violation(&Message::Request(range)), Violation::RequestOutOfRange(range));
        assert!(!lab.connection.request(range, lab.now), "neither do we ask for it");
    }
    let expected = Violation::HaveOutOfRange { piece: PIECES, piece_count: PIECES };
    assert_eq!(lab.violation(&Message::Have(PIECES)), expected);
}

#[test]
fn the_third_unknown_message_in_a_row_is_a_violation() {
    let mut lab = Lab::new();
    let unknown = Message::Unknown { kind: 99, bytes: 5 };
    for _ in 0..3 {
        lab.take(&unknown);
        lab.take(&unknown);
        lab.take(&Message::KeepAlive);
    }
    lab.take(&unknown);
    lab.take(&unknown);
    assert_eq!(lab.violation(&unknown), Violation::UnknownMessages { count: 3, last: 99 });
}

#[test]
fn silence_of_ours_brings_keep_alives_and_silence_of_theirs_the_end() {
    let mut lab = Lab::new();
    assert_eq!(lab.connection.poll_timeout(), Some(lab.now + Duration::from_mins(1)));
    assert_eq!(lab.after(Duration::from_secs(59)), Ok(()));
    assert_eq!(lab.sent(), []);
    assert_eq!(lab.after(Duration::from_secs(1)), Ok(()));
    assert_eq!(lab.sent(), [Message::KeepAlive]);
    assert_eq!(lab.after(Duration::from_secs(119)), Ok(()));
    lab.take(&Message::KeepAlive);
    assert_eq!(lab.after(Duration::from_secs(179)), Ok(()));
    assert_eq!(lab.after(Duration::from_secs(1)), Err(CloseReason::Idle));
}

#[test]
fn a_request_stalls_when_no_data_comes_and_is_told_once() {
    let mut lab = Lab::open();
    lab.request([0, 1]);
    lab.sent();
    lab.after(Duration::from_millis(900)).unwrap();
    lab.connection.progressed(lab.now);
    assert_eq!(lab.connection.poll_timeout(), Some(lab.now + Duration::from_secs(1)));
    lab.after(Duration::from_millis(999)).unwrap();
    assert_eq!(lab.told(), []);
    lab.after(Duration::from_millis(1)).unwrap();
    assert_eq!(lab.told(), [0, 1].map(|piece| Event::Stalled(whole(piece))));
    lab.after(Duration::from_secs(5)).unwrap();
    assert_eq!(lab.told(), []);
    lab.take(&Message::Piece(whole(0)));
    assert_eq!(lab.told(), [Event::Piece(whole(0))], "it is still expected");
}

#[test]
fn a_request_that_waits_for_an_unchoke_stalls_too() {
    let mut lab = Lab::new();
    lab.request([0]);
    lab.after(Duration::from_secs(1)).unwrap();
    assert_eq!(lab.told(), [Event::Stalled(whole(0))]);
}

#[test]
fn a_request_stalls_when_many_later_ones_are_answered() {
    let mut lab = Lab::open();
    lab.request([0]);
    lab.sent();
    let stalled = (1..20).find(|piece| {
        lab.request([*piece]);
        lab.sent();
        lab.take(&Message::Piece(whole(*piece)));
        lab.told().contains(&Event::Stalled(whole(0)))
    });
    assert_eq!(stalled, Some(8), "the window is of 8 requests");
}

#[test]
fn it_ends_when_both_have_everything_and_all_is_told() {
    let mut lab = Lab::with(&Bitfield::full(PIECES));
    lab.sent();
    let mut theirs = Bitfield::full(PIECES);
    theirs.clear(0);
    lab.take(&Message::Bitfield(theirs.to_bytes()));
    lab.connection.allow(true);
    lab.sent();
    lab.take(&Message::Request(whole(0)));
    assert_eq!(lab.connection.next_upload(), Some(whole(0)));
    lab.take(&Message::Have(0));
    assert_eq!(lab.after(Duration::ZERO), Ok(()), "data is on its way");
    lab.connection.uploaded(whole(0), lab.now);
    assert_eq!(lab.connection.poll_timeout(), Some(lab.now));
    assert_eq!(lab.after(Duration::ZERO), Err(CloseReason::BothComplete));
}

#[test]
fn the_first_of_two_answers_is_that_to_what_was_taken_back() {
    let mut lab = Lab::open();
    lab.request(0..8);
    lab.sent();
    // Taken back by a choke that they sent before these requests came; they answer all of them, then those that follow.
    lab.take(&Message::Choke);
    lab.take(&Message::Unchoke);
    lab.request([9]);
    lab.request(0..7);
    lab.sent();
    lab.told();
    for piece in 0..8 {
        lab.take(&Message::Piece(whole(piece)));
    }
    lab.take(&Message::Piece(whole(9)));
    lab.take(&Message::Piece(whole(0)));
    let expected: Vec<Event> = (0..7).chain([9]).map(|piece| Event::Piece(whole(piece))).collect();
    assert_eq!(lab.told(), expected, "none seems to be left out");
}

#[test]
fn a_slot_that_was_taken_and_given_back_at_once_takes_their_requests_back_aloud() {
    let mut lab = Lab::open();
    lab.take(&Message::Request(whole(0)));
    lab.connection.allow(false);
    lab.connection.allow(true);
    assert_eq!(lab.sent(), [Message::Choke, Message::Unchoke]);
    assert_eq!(lab.connection.next_upload(), None);
}

#[test]
fn it_does_not_end_while_something_is_asked_for() {
    let mut lab = Lab::with(&Bitfield::full(PIECES));
    lab.take(&Message::Bitfield(Bitfield::full(PIECES).to_bytes()));
    lab.take(&Message::Unchoke);
    // A piece that failed a later check is wanted again.
    lab.request([3]);
    lab.sent();
    assert_eq!(lab.after(Duration::ZERO), Ok(()));
    lab.take(&Message::Piece(whole(3)));
    assert_eq!(lab.after(Duration::ZERO), Err(CloseReason::BothComplete));
}

mod properties;
