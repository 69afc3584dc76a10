//! The reader's rules of dossier 3.2, each with what it takes and what it refuses.

use PieceHashFileError as Error;
use PieceHashFileMember as Member;

use super::*;

const HASH: &str = r#""yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce/HwBe6Hk=""#;

fn changed(from: &str, to: &str) -> Result<PieceHashFile, PieceHashFileError> {
    assert!(ONE_BYTE.contains(from), "{from}");
    parse(&ONE_BYTE.replace(from, to))
}

fn one_byte() -> PieceHashFile {
    parse(ONE_BYTE).unwrap()
}

#[test]
fn white_space_is_taken_wherever_json_has_it() {
    let spaced = [':', ',', '{', '}', '[', ']']
        .into_iter()
        .fold(ONE_BYTE.to_owned(), |text, sign| text.replace(sign, &format!(" \t{sign}\r\n")));
    assert_eq!(parse(&spaced), Ok(one_byte()));
}

#[test]
fn members_are_taken_in_any_order() {
    let text = format!(
        r#"{{"Pieces":[{HASH}],"PieceSize":1048576,"ContentLength":1,"HashOfHashes":"11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=","MinorVersion":0,"MajorVersion":1}}"#
    );
    assert_eq!(parse(&text), Ok(one_byte()));
}

#[test]
fn members_that_nobody_knows_are_passed_over() {
    for unknown in ["null", "{\"Pieces\":[1,{}]}", "\"\\ud800\"", "-1.5e9", "[[[[]]]]"] {
        let member = format!("{{\"Other\":{unknown},\"majorversion\":7,");
        assert_eq!(changed("{", &member), Ok(one_byte()), "{unknown}");
    }
}

#[test]
fn unknown_members_may_be_nested_as_deep_as_they_like() {
    let depth = 1 << 20;
    let nested = format!("{{\"Other\":{}{},", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(changed("{", &nested), Ok(one_byte()));
}

#[test]
fn a_slash_may_be_escaped_as_json_allows() {
    assert_eq!(parse(&ONE_BYTE.replace('/', "\\/")), Ok(one_byte()));
}

#[test]
fn what_is_no_json_is_refused() {
    let page = "<html>\n<body>Please sign in</body></html>";
    assert_eq!(parse(page), Err(Error::NotJson { line: 1, column: 1 }));
    assert_eq!(parse(""), Err(Error::NotJson { line: 1, column: 0 }));
    let bom = format!("\u{feff}{ONE_BYTE}");
    assert_eq!(parse(&bom), Err(Error::NotJson { line: 1, column: 1 }));
    for end in 1..ONE_BYTE.len() {
        let cut = parse(&ONE_BYTE[..end]);
        assert!(matches!(cut, Err(Error::NotJson { line: 1, .. })), "{end}: {cut:?}");
    }
}

#[test]
fn something_behind_the_end_is_refused() {
    for rest in ["x", "{}", ",", ONE_BYTE, "\0"] {
        let read = parse(&format!("{ONE_BYTE}{rest}"));
        assert!(matches!(read, Err(Error::NotJson { .. })), "{rest}: {read:?}");
    }
}

#[test]
fn what_is_not_utf_8_is_refused_even_in_members_that_nobody_knows() {
    let text = ONE_BYTE.replace('{', "{\"Other\":\"?\",");
    let offset = text.find('?').unwrap();
    let mut bytes = text.into_bytes();
    bytes[offset] = 0xff;
    assert_eq!(PieceHashFile::parse(&bytes), Err(Error::NotUtf8 { offset }));
}

#[test]
fn other_json_than_an_object_is_refused() {
    let array = format!(r#"[1,0,"11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=",1,1048576,[{HASH}]]"#);
    for text in ["null", "1", "\"x\"", "[]", &array] {
        assert_eq!(parse(text), Err(Error::NotAnObject), "{text}");
    }
}

#[test]
fn every_member_must_be_there() {
    for (member, name) in [
        (Member::MajorVersion, "MajorVersion"),
        (Member::MinorVersion, "MinorVersion"),
        (Member::HashOfHashes, "HashOfHashes"),
        (Member::ContentLength, "ContentLength"),
        (Member::PieceSize, "PieceSize"),
        (Member::Pieces, "Pieces"),
    ] {
        let error = Error::Missing { member };
        assert_eq!(changed(&format!("\"{name}\""), "\"Other\""), Err(error.clone()));
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_member_that_stands_there_twice_is_refused() {
    for (member, name, value) in [
        (Member::MajorVersion, "MajorVersion", "1"),
        (Member::MinorVersion, "MinorVersion", "0"),
        (Member::HashOfHashes, "HashOfHashes", HASH),
        (Member::ContentLength, "ContentLength", "1"),
        (Member::PieceSize, "PieceSize", "1048576"),
        (Member::Pieces, "Pieces", "[]"),
    ] {
        let text = ONE_BYTE.replace('}', &format!(",\"{name}\":{value}}}"));
        assert_eq!(parse(&text), Err(Error::Duplicate { member }), "{name}");
    }
}

#[test]
fn values_of_another_kind_are_refused() {
    for (member, from, to) in [
        (Member::MajorVersion, r#""MajorVersion":1"#, r#""MajorVersion":"1""#),
        (Member::MajorVersion, r#""MajorVersion":1"#, r#""MajorVersion":1.0"#),
        (Member::MinorVersion, r#""MinorVersion":0"#, r#""MinorVersion":4294967296"#),
        (Member::HashOfHashes, r#""11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=""#, "null"),
        (Member::ContentLength, r#""ContentLength":1"#, r#""ContentLength":-1"#),
        (Member::ContentLength, r#""ContentLength":1"#, r#""ContentLength":1e0"#),
        (Member::ContentLength, r#""ContentLength":1"#, r#""ContentLength":18446744073709551616"#),
        (Member::PieceSize, "1048576", "[1048576]"),
        (Member::Pieces, &format!("[{HASH}]"), HASH),
        (Member::Pieces, HASH, "7"),
        (Member::Pieces, HASH, "null"),
    ] {
        assert_eq!(changed(from, to), Err(Error::WrongKind { member }), "{to}");
    }
}

#[test]
fn a_wrong_value_is_not_quoted_in_the_error() {
    let error = changed(r#""ContentLength":1"#, &format!(r#""ContentLength":"{}""#, "x".repeat(9_999)));
    assert!(error.unwrap_err().to_string().len() < 100);
}

#[test]
fn the_major_version_must_be_1() {
    for major in [0, 2, 256, u64::MAX] {
        let to = format!(r#""MajorVersion":{major}"#);
        assert_eq!(changed(r#""MajorVersion":1"#, &to), Err(Error::OtherVersion { major }));
    }
}

#[test]
fn another_minor_version_is_taken_and_kept() {
    let to = r#""MinorVersion":4294967295"#;
    let file = changed(r#""MinorVersion":0"#, to).unwrap();
    assert_eq!((file.minor_version(), file.hash_of_hashes()), (u32::MAX, one_byte().hash_of_hashes()));
    let text = ONE_BYTE.replace(r#""MinorVersion":0"#, to);
    assert_eq!(String::from_utf8(file.encode()).unwrap(), text);
}

#[test]
fn a_piece_has_1_to_2_to_the_31_bytes() {
    for bytes in [0, (1 << 31) + 1, 1 << 32, u64::MAX] {
        assert_eq!(changed("1048576", &bytes.to_string()), Err(Error::PieceLengthOutOfRange { bytes }));
    }
    let hash = || vec![PieceHash::of(b"x")];
    for bytes in [1, 3, 1_000_003, 1 << 31] {
        let file = PieceHashFile::new(1, bytes, hash()).unwrap();
        assert_eq!(PieceHashFile::parse(&file.encode()), Ok(file), "{bytes}");
        assert!(PieceHashFileBuilder::with_piece_length(bytes).is_ok(), "{bytes}");
    }
    for bytes in [0, (1 << 31) + 1, u32::MAX] {
        let error = Error::PieceLengthOutOfRange { bytes: u64::from(bytes) };
        assert_eq!(PieceHashFile::new(1, bytes, hash()), Err(error.clone()));
        assert_eq!(PieceHashFileBuilder::with_piece_length(bytes).unwrap_err(), error);
    }
}

#[test]
fn there_are_as_many_hashes_as_pieces() {
    let count = |from: &str, to: &str| match changed(from, to) {
        Err(Error::WrongPieceCount { expected, found }) => (expected, found),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(r#""ContentLength":1"#, r#""ContentLength":1048577"#), (2, 1));
    assert_eq!(count(r#""ContentLength":1"#, r#""ContentLength":0"#), (0, 1));
    assert_eq!(count(&format!("[{HASH}]"), "[]"), (1, 0));
    assert_eq!(count(HASH, &format!("{HASH},{HASH}")), (1, 2));
}

/// Each of these would need terabytes of hashes, which would abort the test if they were allocated.
#[test]
fn a_claim_of_billions_of_pieces_allocates_nothing() {
    for (content_length, piece_size, expected) in
        [(u64::MAX, 1, u64::MAX), (1 << 42, 1, 1 << 42), (u64::MAX, 1 << 20, 1 << 44)]
    {
        let text = ONE_BYTE
            .replace(r#""ContentLength":1"#, &format!(r#""ContentLength":{content_length}"#))
            .replace("1048576", &piece_size.to_string());
        assert_eq!(parse(&text), Err(Error::WrongPieceCount { expected, found: 1 }));
    }
}

#[test]
fn every_hash_has_32_bytes() {
    let short = "yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce/HwBe6A==";
    let long = "yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce/HwBe6Hk5";
    let unpadded = "yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce/HwBe6Hk";
    let spare_bits = "yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce/HwBe6Hl=";
    let url_safe = "yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce_HwBe6Hk=";
    let megabytes = "A".repeat(3 << 20);
    for text in ["", short, long, unpadded, spare_bits, url_safe, &megabytes] {
        let quoted = format!("\"{text}\"");
        assert_eq!(changed(HASH, &quoted), Err(Error::BadPieceHash { number: 0 }), "{text:.50}");
        let second = format!("{HASH},{quoted}");
        assert_eq!(changed(HASH, &second), Err(Error::BadPieceHash { number: 1 }), "{text:.50}");
        let hash_of_hashes = changed("11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=", text);
        assert_eq!(hash_of_hashes, Err(Error::BadHashOfHashes), "{text:.50}");
    }
}

#[test]
fn a_file_that_states_another_hash_of_hashes_than_its_members_give_is_refused() {
    let computed = one_byte().hash_of_hashes();
    let text = "0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=";
    let stated = HashOfHashes::from_base64(text).unwrap();
    let read = changed("11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=", text);
    assert_eq!(read, Err(Error::WrongHashOfHashes { stated, computed }));
    let other_length = changed(r#""ContentLength":1"#, r#""ContentLength":2"#);
    assert!(matches!(other_length, Err(Error::WrongHashOfHashes { stated, .. }) if stated == computed));
}

#[test]
fn a_file_of_64_mib_is_read_and_a_byte_more_is_not() {
    assert_eq!(PieceHashFile::MAX_BYTES, 67_108_864);
    let mut text = ONE_BYTE.as_bytes().to_vec();
    text.resize(PieceHashFile::MAX_BYTES, b' ');
    assert_eq!(PieceHashFile::parse(&text), Ok(one_byte()));
    text.push(b' ');
    assert_eq!(PieceHashFile::parse(&text), Err(Error::TooLong { bytes: PieceHashFile::MAX_BYTES + 1 }));
}

#[test]
fn no_file_is_made_that_would_be_too_long_to_be_read() {
    let hash = PieceHash::of(b"x");
    let file = |pieces: usize| PieceHashFile::new(pieces as u64, 1, vec![hash; pieces]);
    // Vector 6 has 193 bytes, of which 46 are its hash in quotes, 1 the content length and 7 the piece length. Each further
    // hash has 47, and here the numbers have 7 digits and 1.
    let most = (67_108_864 - (193 - 46 - 1 - 7) - 7 - 1 + 1) / 47;
    assert_eq!(file(most).unwrap().encode().len(), 139 + 7 + 1 + 47 * most - 1);
    let bytes = 139 + 7 + 1 + 47 * (most + 1) - 1;
    assert_eq!(file(most + 1), Err(Error::TooLong { bytes }));
}

#[test]
fn a_builder_stops_before_the_file_is_too_long() {
    let mut builder = PieceHashFileBuilder::with_piece_length(1).unwrap();
    let error = builder.push(&vec![7; 1_500_000]).unwrap_err();
    assert_eq!(error.piece_length_bytes, 1);
    assert_eq!(builder.push(&[7]), Err(error));
    assert_eq!(builder.push(&[]), Ok(()));
    let bytes = builder.finish().encoded_length_bytes();
    assert!(bytes <= PieceHashFile::MAX_BYTES && PieceHashFile::MAX_BYTES - bytes < 200, "{bytes}");
}

#[test]
fn the_content_length_must_be_the_one_that_http_says() {
    assert_eq!(one_byte().check_content_length(1), Ok(()));
    let error = Error::OtherContentLength { stated: 1, learned: 2 };
    assert_eq!(one_byte().check_content_length(2), Err(error));
}
