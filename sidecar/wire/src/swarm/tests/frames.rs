use proptest::prelude::*;

use super::handshakes::bytes;
use crate::invariants;
use crate::swarm::*;

const MIB: u32 = 1 << 20;

fn range(piece: u32, begin: u32, length: u32) -> PieceRange {
    PieceRange { piece, begin, length }
}

/// F3 to F14: bytes and meaning. Of F13 the header.
fn examples() -> Vec<(&'static str, Message)> {
    vec![
        ("00 00 00 00", Message::KeepAlive),
        ("00 00 00 01 00", Message::Choke),
        ("00 00 00 01 01", Message::Unchoke),
        ("00 00 00 01 02", Message::Interested),
        ("00 00 00 01 03", Message::NotInterested),
        ("00 00 00 05 04 00 00 00 02", Message::Have(2)),
        ("00 00 00 02 05 e0", Message::Bitfield(vec![0b1110_0000])),
        ("00 00 00 02 05 a0", Message::Bitfield(vec![0b1010_0000])),
        (
            "00 00 00 0a 05 ff ff ff ff ff ff ff ff fe",
            Message::Bitfield(vec![255, 255, 255, 255, 255, 255, 255, 255, 0b1111_1110]),
        ),
        ("00 00 00 0d 06 00 00 00 00 00 00 00 00 00 10 00 00", Message::Request(range(0, 0, MIB))),
        ("00 00 00 0d 06 00 00 00 02 00 00 00 00 00 08 00 05", Message::Request(range(2, 0, 524_293))),
        ("00 00 00 0d 06 00 00 00 01 00 01 00 00 00 01 00 00", Message::Request(range(1, 65_536, 65_536))),
        ("00 00 00 0d 07 00 00 00 02 00 00 00 00 07 26 45 64", Message::Piece(range(2, 0, 4))),
        ("00 10 00 09 07 00 00 00 00 00 00 00 00", Message::Piece(range(0, 0, MIB))),
        ("00 00 00 0d 08 00 00 00 00 00 00 00 00 00 10 00 00", Message::Cancel(range(0, 0, MIB))),
    ]
}

fn first(wire: &[u8]) -> Result<Option<Message>, FrameError> {
    let mut input = wire;
    FrameReader::new(9).read(&mut input)
}

#[test]
fn f3_to_f14_are_what_the_dossier_says() {
    for (wire, message) in examples() {
        let wire = bytes(wire);
        assert_eq!(first(&wire), Ok(Some(message.clone())), "{wire:02x?}");
        let mut written = Vec::new();
        message.encode(&mut written);
        assert!(wire.starts_with(&written), "{message:?}: {written:02x?}");
        let data = if message == Message::Piece(range(2, 0, 4)) { 4 } else { 0 };
        assert_eq!(wire.len() - written.len(), data, "{message:?}");
    }
}

#[test]
fn f12_yields_its_header_before_its_data() {
    let wire = bytes("00 00 00 0d 07 00 00 00 02 00 00 00 00 07 26 45 64 00 00 00 01 01");
    let mut reader = FrameReader::new(1);
    let mut input = &wire[..13];
    assert_eq!(reader.read(&mut input), Ok(Some(Message::Piece(range(2, 0, 4)))));
    assert_eq!((input, reader.data_left()), (&[][..], 4));
    let mut input = &wire[13..15];
    assert_eq!(reader.take_data(&mut input), [0x07, 0x26]);
    assert_eq!(reader.data_left(), 2);
    // The rest is read by somebody else.
    reader.data_was_read(2);
    let mut input = &wire[17..];
    assert_eq!(reader.read(&mut input), Ok(Some(Message::Unchoke)));
}

#[test]
fn data_that_nobody_takes_is_skipped() {
    let wire = bytes("00 00 00 0d 07 00 00 00 02 00 00 00 00 07 26 45 64 00 00 00 01 01");
    let mut reader = FrameReader::new(1);
    let mut input = wire.as_slice();
    assert_eq!(reader.read(&mut input), Ok(Some(Message::Piece(range(2, 0, 4)))));
    assert_eq!(reader.read(&mut input), Ok(Some(Message::Unchoke)));
    assert_eq!(reader.read(&mut input), Ok(None));
}

#[test]
fn f15_is_a_filler_and_skipped() {
    let wire = bytes("00 00 00 04 14 aa bb cc 00 00 00 01 02");
    let mut reader = FrameReader::new(1);
    let mut input = wire.as_slice();
    assert_eq!(reader.read(&mut input), Ok(Some(Message::Filler(3))));
    assert_eq!(reader.read(&mut input), Ok(Some(Message::Interested)));
}

#[test]
fn f16_is_refused_by_its_length_alone() {
    let error = first(&bytes("00 1f 40 01")).unwrap_err();
    assert_eq!(error, FrameError::TooLong { received: 2_048_001 });
    assert_eq!(error.code(), 0x80D0_6815);
    // The longest one is not: its data has the 2,047,991 bytes of the dossier.
    let longest = first(&bytes("00 1f 40 00 07 00 00 00 01 00 00 00 00"));
    assert_eq!(longest, Ok(Some(Message::Piece(range(1, 0, 2_047_991)))));
}

#[test]
fn an_unknown_type_is_skipped_by_its_length() {
    let wire = bytes("00 00 00 03 15 01 02 00 00 00 01 ff 00 00 00 01 00");
    let mut reader = FrameReader::new(1);
    let mut input = wire.as_slice();
    assert_eq!(reader.read(&mut input), Ok(Some(Message::Unknown { kind: 0x15, bytes: 2 })));
    assert_eq!(reader.read(&mut input), Ok(Some(Message::Unknown { kind: 0xff, bytes: 0 })));
    assert_eq!(reader.read(&mut input), Ok(Some(Message::Choke)));
}

#[test]
fn a_length_that_its_type_does_not_have_is_refused_before_the_rest_comes() {
    let cases = [
        ("00 00 00 02 00", 0, 1, 2),
        ("00 00 00 02 03", 3, 1, 2),
        ("00 00 00 04 04", 4, 5, 4),
        ("00 00 00 0c 06", 6, 13, 12),
        ("00 00 00 0e 08", 8, 13, 14),
        // No data, and not even an index.
        ("00 00 00 09 07", 7, 10, 9),
        ("00 00 00 01 07", 7, 10, 1),
        // A bitfield of ten bytes where nine are the most.
        ("00 00 00 0b 05", 5, 10, 11),
    ];
    for (wire, kind, expected, received) in cases {
        let error = first(&bytes(wire)).unwrap_err();
        assert_eq!(error, FrameError::WrongLength { kind, expected, received }, "{wire}");
        assert_eq!(error.code(), 0x80D0_6816);
    }
}

fn any_range() -> impl Strategy<Value = PieceRange> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(piece, begin, length)| range(piece, begin, length))
}

/// Any message, and data behind it if it is a piece.
fn any_message() -> impl Strategy<Value = (Message, Vec<u8>)> {
    let piece = (any::<u32>(), any::<u32>(), prop::collection::vec(any::<u8>(), 1..300));
    let unknown = (any::<u8>(), 0..300_u32)
        .prop_filter("a type that is known", |(kind, _)| !matches!(kind, 0..=8 | 20))
        .prop_map(|(kind, bytes)| Message::Unknown { kind, bytes });
    let others = prop_oneof![
        Just(Message::KeepAlive),
        Just(Message::Choke),
        Just(Message::Unchoke),
        Just(Message::Interested),
        Just(Message::NotInterested),
        any::<u32>().prop_map(Message::Have),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Message::Bitfield),
        any_range().prop_map(Message::Request),
        any_range().prop_map(Message::Cancel),
        (0..300_u32).prop_map(Message::Filler),
        unknown,
    ];
    prop_oneof![
        others.prop_map(|message| (message, Vec::new())),
        piece.prop_map(|(piece, begin, data)| {
            (Message::Piece(range(piece, begin, u32::try_from(data.len()).unwrap())), data)
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_however_it_is_cut(
        messages in prop::collection::vec(any_message(), 0..20),
        runs in prop::collection::vec(1..400_usize, 1..20),
    ) {
        let mut wire = vec![200];
        for (message, data) in &messages {
            message.encode(&mut wire);
            wire.extend_from_slice(data);
        }
        invariants::swarm_frames(&wire);

        let mut reader = FrameReader::new(200);
        let mut rest = &wire[1..];
        let mut runs = runs.into_iter().cycle();
        let mut read: Vec<(Message, Vec<u8>)> = Vec::new();
        while !rest.is_empty() {
            let (mut input, later) = rest.split_at(runs.next().unwrap().min(rest.len()));
            rest = later;
            loop {
                if reader.data_left() > 0 {
                    let data = reader.take_data(&mut input);
                    read.last_mut().unwrap().1.extend_from_slice(data);
                }
                match reader.read(&mut input).unwrap() {
                    Some(message) => read.push((message, Vec::new())),
                    None => break,
                }
            }
        }
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes: Vec<u8>) {
        invariants::swarm_frames(&bytes);
    }

    #[test]
    fn damaged_frames_are_others_or_an_error(
        messages in prop::collection::vec(any_message(), 1..10),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut wire = vec![100];
        for (message, data) in &messages {
            message.encode(&mut wire);
            wire.extend_from_slice(data);
        }
        for (index, byte) in changes {
            let index = index.index(wire.len());
            wire[index] = byte;
        }
        invariants::swarm_frames(&wire);
    }
}
