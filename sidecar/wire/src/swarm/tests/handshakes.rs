use proptest::prelude::*;

use crate::invariants;
use crate::swarm::*;

/// F1.
const SHORT: &str = "0e 53 77 61 72 6d 20 70 72 6f 74 6f 63 6f 6c 00 00 00 01 00 00 00 00
    d0 73 6e 43 81 93 f4 70 02 c7 8e b0 a6 d6 0a ba d7 1d 67 97 28 da b1 93 a3 92 ca 3b 36 44 8f 53
    e0 8e 8e 26 fd 83 3d 40 97 b3 a6 2b 66 ad c6 7b 00 00 00 00";
/// F2, as far as the dossier writes it down.
const LONG_STARTS: &str = "00 00 00 0e 53 77 61 72 6d 20 70 72 6f 74 6f 63 6f 6c 00 00 00 01";

pub(super) fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.split_whitespace().collect::<String>()).unwrap()
}

fn read(mut input: &[u8]) -> Result<Option<(Handshake, HandshakeForm)>, HandshakeError> {
    HandshakeReader::default().read(&mut input)
}

fn example() -> Handshake {
    let swarm = bytes(
        "d0 73 6e 43 81 93 f4 70 02 c7 8e b0 a6 d6 0a ba d7 1d 67 97 28 da b1 93 a3 92 ca 3b 36 44 8f 53",
    );
    Handshake {
        swarm: SwarmId::from_bytes(swarm.try_into().unwrap()),
        peer: PeerId::from_hex("e08e8e26fd833d4097b3a62b66adc67b00000000").unwrap(),
    }
}

#[test]
fn f1_is_the_short_form() {
    let wire = bytes(SHORT);
    assert_eq!(wire.len(), 75);
    assert_eq!(read(&wire), Ok(Some((example(), HandshakeForm::Short))));
    assert_eq!(example().encode(HandshakeForm::Short), wire);
}

#[test]
fn f2_is_the_long_form() {
    let mut wire = bytes("00 00 00");
    wire.extend(bytes(SHORT));
    assert_eq!(wire.len(), 78);
    assert!(wire.starts_with(&bytes(LONG_STARTS)));
    assert_eq!(read(&wire), Ok(Some((example(), HandshakeForm::Long))));
    assert_eq!(example().encode(HandshakeForm::Long), wire);
}

#[test]
fn what_follows_a_handshake_is_left_for_the_frames() {
    let mut wire = bytes(SHORT);
    wire.extend([0, 0, 0, 1, 1]);
    let mut input = wire.as_slice();
    assert!(HandshakeReader::default().read(&mut input).unwrap().is_some());
    assert_eq!(input, [0, 0, 0, 1, 1]);
}

#[test]
fn reading_as_much_as_is_missing_never_reads_beyond() {
    for form in [HandshakeForm::Short, HandshakeForm::Long] {
        let wire = example().encode(form);
        let (mut reader, mut rest, mut read) = (HandshakeReader::default(), wire.as_slice(), None);
        while read.is_none() {
            assert!((1..=rest.len()).contains(&reader.missing_bytes()), "{form:?}");
            let (mut now, later) = rest.split_at(reader.missing_bytes());
            read = reader.read(&mut now).unwrap();
            rest = later;
        }
        assert_eq!((read, reader.missing_bytes()), (Some((example(), form)), 0));
        assert!(rest.is_empty());
    }
}

#[test]
fn the_constant_is_not_looked_at() {
    let mut wire = bytes(SHORT);
    wire[15..23].fill(0x5a);
    assert_eq!(read(&wire), Ok(Some((example(), HandshakeForm::Short))));
}

#[test]
fn names_of_a_length_that_none_has_are_refused_by_the_length_alone() {
    let cases: [(&[u8], u32); 7] = [
        (&[22], 22),
        (&[51], 51),
        (&[0xff], 255),
        (&[0, 0, 0, 0], 0),
        (&[0, 0, 0, 22], 22),
        (&[0, 0, 0, 51], 51),
        (&[0, 1], 1),
    ];
    for (wire, length) in cases {
        let error = read(wire).unwrap_err();
        assert_eq!(error, HandshakeError::NameLength { received: length });
        assert_eq!(error.code(), 0x80D0_6813);
    }
}

#[test]
fn another_name_is_refused_at_its_first_wrong_byte() {
    for wire in
        [b"\x0eSwarm Protocol".as_slice(), b"\x0eX", b"\x13", b"\x13BitTorrent protocol", b"\0\0\0\x0eQ"]
    {
        let error = read(wire).unwrap_err();
        assert!(matches!(error, HandshakeError::WrongName { .. }), "{error:?}");
        assert_eq!(error.code(), 0x80D0_6816);
    }
    let error = read(b"\x0eSwarm \x1b[31m").unwrap_err();
    assert_eq!(error, HandshakeError::WrongName { received: "Swarm ?[31m".to_owned() });
}

#[test]
fn a_swarm_id_is_never_shown_whole() {
    assert_eq!(format!("{:?}", example().swarm), "SwarmId(d0736e43..)");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(swarm: [u8; 32], peer: [u8; 20], long: bool, behind: Vec<u8>) {
        let handshake = Handshake { swarm: SwarmId::from_bytes(swarm), peer: PeerId::from_bytes(peer) };
        let form = if long { HandshakeForm::Long } else { HandshakeForm::Short };
        let mut wire = handshake.encode(form);
        prop_assert_eq!(read(&wire), Ok(Some((handshake, form))));
        prop_assert_eq!(read(&wire[..wire.len() - 1]), Ok(None));
        wire.extend(behind);
        invariants::swarm_handshake(&wire);
    }

    #[test]
    fn any_bytes_are_a_handshake_or_an_error(bytes: Vec<u8>) {
        invariants::swarm_handshake(&bytes);
    }

    #[test]
    fn a_damaged_handshake_is_another_or_an_error(at in 0..78_usize, bits: u8, cut in 0..79_usize, long: bool) {
        let form = if long { HandshakeForm::Long } else { HandshakeForm::Short };
        let mut wire = example().encode(form);
        let at = at.min(wire.len() - 1);
        wire[at] ^= bits;
        wire.truncate(cut);
        invariants::swarm_handshake(&wire);
    }
}
