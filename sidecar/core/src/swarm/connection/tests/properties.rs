//! Any messages, any calls, in any order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Take(Message),
    Request(PieceRange),
    Cancel(PieceRange),
    Announce(u32),
    Allow(bool),
    Seek(bool),
    Upload(bool),
    Wait(u64),
}

/// Often right, often not.
fn range() -> impl Strategy<Value = PieceRange> {
    let piece = prop_oneof![6 => 0..6u32, 1 => Just(PIECES), 1 => any::<u32>()];
    let begin = prop_oneof![6 => Just(0), 1 => 0..LENGTH + 2, 1 => any::<u32>()];
    let length = prop_oneof![6 => Just(LENGTH), 1 => 0..LENGTH + 2, 1 => any::<u32>()];
    (piece, begin, length).prop_map(|(piece, begin, length)| PieceRange { piece, begin, length })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        2 => Just(Message::Choke),
        6 => Just(Message::Unchoke),
        2 => Just(Message::Interested),
        1 => Just(Message::NotInterested),
        1 => Just(Message::KeepAlive),
        1 => any::<u32>().prop_map(Message::Filler),
        1 => (any::<u8>(), any::<u32>()).prop_map(|(kind, bytes)| Message::Unknown { kind, bytes }),
        2 => range().prop_map(|range| Message::Have(range.piece)),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Message::Bitfield),
        9 => range().prop_map(Message::Request),
        5 => range().prop_map(Message::Piece),
        2 => range().prop_map(Message::Cancel),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => message().prop_map(Step::Take),
        6 => range().prop_map(Step::Request),
        3 => range().prop_map(Step::Cancel),
        1 => (0..PIECES + 1).prop_map(Step::Announce),
        2 => any::<bool>().prop_map(Step::Allow),
        1 => any::<bool>().prop_map(Step::Seek),
        3 => any::<bool>().prop_map(Step::Upload),
        1 => (0..200_000u64).prop_map(Step::Wait),
    ]
}

/// Does it, and gives what was told of violations.
fn do_it(lab: &mut Lab, step: Step) -> Result<(), Violation> {
    match step {
        Step::Take(message) => return lab.connection.receive(&message, lab.now),
        Step::Request(range) => {
            lab.connection.request(range, lab.now);
        }
        Step::Cancel(range) => lab.connection.cancel(range),
        Step::Announce(piece) => lab.connection.announce(piece),
        Step::Allow(unchoked) => lab.connection.allow(unchoked),
        Step::Seek(seeking) => lab.connection.seek(seeking),
        Step::Upload(has_it) => match lab.connection.next_upload() {
            Some(range) if has_it => lab.connection.uploaded(range, lab.now),
            Some(range) => lab.connection.refuse_upload(range),
            None => {}
        },
        Step::Wait(milliseconds) => {
            let _ = lab.after(Duration::from_millis(milliseconds));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_comes_nothing_grows_beyond_its_bounds(
        steps in prop::collection::vec((step(), any::<bool>()), 0..150),
    ) {
        let mut lab = Lab::new();
        for (step, polls) in steps {
            let may_be_told = match &step {
                Step::Take(Message::Piece(range)) => lab.connection.expects(*range).then_some(*range),
                _ => None,
            };
            let taken = do_it(&mut lab, step);
            if let Some(range) = may_be_told {
                prop_assert!(taken.is_ok());
                prop_assert!(lab.told().contains(&Event::Piece(range)));
            }
            if polls {
                // More than this can't be due at once.
                let sent = lab.sent();
                prop_assert!(sent.len() < 2 * 64 + usize::try_from(PIECES).unwrap(), "{sent:?}");
                lab.told();
            }
            let (waiting, in_flight) = lab.connection.our_requests();
            prop_assert!(waiting <= 64 && in_flight <= 8, "{waiting}, {in_flight}");
            prop_assert!(lab.connection.their_requests() <= 64);
            prop_assert!(lab.connection.requests.remembered() <= 256);
            let nothing = PieceRange { length: 0, ..whole(0) };
            prop_assert!(!lab.connection.expects(nothing));
        }
    }
}
