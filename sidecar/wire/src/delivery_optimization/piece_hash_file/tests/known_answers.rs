//! The vectors of dossier 3.4. Rows 1 to 4 are content that Microsoft published.

use super::*;

struct Vector {
    number: u8,
    content_length: u64,
    pieces: &'static [&'static str],
    hash_of_hashes: &'static str,
    /// Digest and length of the file, where the dossier has them.
    file: Option<(&'static str, usize)>,
    /// Whether the content is byte i = (31·i + 7) mod 256.
    generated: bool,
}

const VECTORS: [Vector; 7] = [
    Vector {
        number: 1,
        content_length: 244_530,
        pieces: &["J/rmYNjGCeAgcDu0Y7ZgHmKBHcddsZl1vLfWjZWbUn0="],
        hash_of_hashes: "bLR+YkW147Gf10YSrQ6lgW3AC9E1aDesK3TaSr0DHJA=",
        file: None,
        generated: false,
    },
    Vector {
        number: 2,
        content_length: 4_642_818,
        pieces: &[
            "WXdd9JFACfSvd8pL4CzlApi6zSFcMZvaEco9C+Zcjgc=",
            "7ZyMYuVE3K+gFOLr9YJstAno6vzOeLxh5fLQ8mHKt4g=",
            "kEyeX2FsHicx3AN64BNqAbaPMG4N/4HoME4mYX4ahCk=",
            "r1xSeMQBrq4Lp/VMMEtdGRCLr9DzJrjW+T/yj/IBMt4=",
            "8rPNGdVaZxgYMQ9SkBnjIWZ9TbIHb9zfGnM7Ub8xtb0=",
        ],
        hash_of_hashes: "aGZA/I8Lc2F+ZsPzrXhTrcZaVte+PexJ5cOai52WjpQ=",
        file: None,
        generated: false,
    },
    Vector {
        number: 3,
        content_length: 758_544,
        pieces: &["e6bqe8Ms1Yt+BoPaWIeWCGrM+3Tvt6PlJen4AU0q1mM="],
        hash_of_hashes: "8mCgqHVXNUyEZOGgpsbSCy52YRo0acscjDoPV591rys=",
        file: Some(("xF5p1A9LiL1aEiYWHG7IxoBzYLH6fTxXC8TTtH3/7NM=", 198)),
        generated: false,
    },
    Vector {
        number: 4,
        content_length: 835_614,
        pieces: &["LEIlI/9pNomoTBCVhc+kRBQ6w7a3pcrfSFivxqPLdQ8="],
        hash_of_hashes: "5ZzOgzJMOZlDHkSl3yIudNr6GNs8DkWCFPJfqfUHrz0=",
        file: Some(("0jxxtMWYZUGx9PjKxcKfR8dVl1ZKXdkA/qFW3WPNv3k=", 198)),
        generated: false,
    },
    Vector {
        number: 5,
        content_length: 2_621_445,
        pieces: &[
            "Bre7+3gkqgM4IFFpFjDrJt6FEC0bCKgekH7AdEzYooY=",
            "Bre7+3gkqgM4IFFpFjDrJt6FEC0bCKgekH7AdEzYooY=",
            "B/TtASydrH6OfxpTnUGz7A6NHe6wM67+oqBHUjoQBkg=",
        ],
        hash_of_hashes: "0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=",
        file: Some(("hhxvEjEblqKRn4V686WzCfTV6QgJb2AwWuOp2How36g=", 293)),
        generated: true,
    },
    Vector {
        number: 6,
        content_length: 1,
        pieces: &["yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce/HwBe6Hk="],
        hash_of_hashes: "11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=",
        file: Some(("TBaiUx0vfY7GDlK6/04qcxm5CUazU/182NkOrlvomCE=", 193)),
        generated: true,
    },
    Vector {
        number: 7,
        content_length: 1_048_576,
        pieces: &["Bre7+3gkqgM4IFFpFjDrJt6FEC0bCKgekH7AdEzYooY="],
        hash_of_hashes: "92+Yot36fMJP/GPQYL3j3JYz2wnEnob5MVpjG9mc6tI=",
        file: Some(("iSHzpY8HtF8i1VoN4Mjn3++y45bWDEys9D/pdpu5coA=", 199)),
        generated: true,
    },
];

fn file(vector: &Vector) -> PieceHashFile {
    let pieces = vector.pieces.iter().map(|piece| PieceHash::from_base64(piece).unwrap()).collect();
    PieceHashFile::new(vector.content_length, PieceHashFile::USUAL_PIECE_LENGTH_BYTES, pieces).unwrap()
}

/// The content of the generated vectors.
fn content(length: u64) -> Vec<u8> {
    (0..length).map(|index| u8::try_from((31 * index + 7) % 256).unwrap()).collect()
}

#[test]
fn vectors_1_to_7_give_their_hash_of_hashes() {
    for vector in &VECTORS {
        let expected = HashOfHashes::from_base64(vector.hash_of_hashes).unwrap();
        assert_eq!(file(vector).hash_of_hashes(), expected, "vector {}", vector.number);
    }
}

#[test]
fn vectors_3_to_7_are_written_byte_for_byte_as_published() {
    for vector in &VECTORS {
        let Some((digest, length)) = vector.file else { continue };
        let text = file(vector).encode();
        assert_eq!(text.len(), length, "vector {}", vector.number);
        assert_eq!(PiecesHashFileDigest::of(&text).to_base64(), digest, "vector {}", vector.number);
    }
}

#[test]
fn vectors_5_to_7_are_computed_from_their_content_in_runs_of_any_length() {
    for vector in VECTORS.iter().filter(|vector| vector.generated) {
        let content = content(vector.content_length);
        for run in [content.len(), 1 << 20, 65_536, 1_000_003] {
            let mut builder = PieceHashFileBuilder::new();
            for bytes in content.chunks(run) {
                builder.push(bytes).unwrap();
            }
            assert_eq!(builder.finish(), file(vector), "vector {} in runs of {run}", vector.number);
        }
    }
}

#[test]
fn the_full_text_of_vector_6_is_read_and_written() {
    let read = parse(ONE_BYTE).unwrap();
    assert_eq!(read, file(&VECTORS[5]));
    assert_eq!(String::from_utf8(read.encode()).unwrap(), ONE_BYTE);
}

#[test]
fn every_vector_is_read_back() {
    for vector in &VECTORS {
        let file = file(vector);
        assert_eq!(PieceHashFile::parse(&file.encode()), Ok(file), "vector {}", vector.number);
    }
}

#[test]
fn pieces_have_the_usual_length_and_the_last_one_what_is_left() {
    let file = file(&VECTORS[4]);
    assert_eq!((file.content_length_bytes(), file.piece_length_bytes()), (2_621_445, 1_048_576));
    assert_eq!((file.piece_count(), file.pieces().len(), file.minor_version()), (3, 3, 0));
    assert_eq!(file.piece(0), file.piece(1));
    assert_eq!(file.piece(2).unwrap().to_string(), VECTORS[4].pieces[2]);
    assert_eq!(file.piece_range(0), Some(0..1_048_576));
    // Dossier 5.4: 3 pieces, the last of 524,293 bytes.
    assert_eq!(file.piece_range(2), Some(2_097_152..2_097_152 + 524_293));
    assert_eq!((file.piece(3), file.piece_range(3)), (None, None));
    assert_eq!((file.piece(usize::MAX), file.piece_range(usize::MAX)), (None, None));
}

#[test]
fn a_piece_is_its_bytes_and_neither_others_nor_fewer() {
    let file = file(&VECTORS[4]);
    let mut content = content(2_621_445);
    assert!(file.is_piece(0, &content[..1 << 20]));
    assert!(file.is_piece(2, &content[2 << 20..]));
    assert!(!file.is_piece(2, &content[2 << 20..2_621_444]));
    assert!(!file.is_piece(0, &content[2 << 20..]));
    assert!(!file.is_piece(3, &[]));
    content[2_621_444] ^= 1;
    assert!(!file.is_piece(2, &content[2 << 20..]));
}

/// The project's own rule (dossier 3.4, last line): no sample of empty content is known. SHA-256 of the header
/// `01000000 0000000000000000 00001000` by `sha256sum`.
#[test]
fn empty_content_has_no_piece() {
    let file = PieceHashFileBuilder::new().finish();
    assert_eq!((file.piece_count(), file.content_length_bytes(), file.piece(0)), (0, 0, None));
    assert_eq!(
        file.hash_of_hashes().to_hex(),
        "e943ca92fb7f72d38a9d211774a9983bc163ba4bede7a8f9cbbaf295254d75f8"
    );
    assert!(file.encode().ends_with(br#""ContentLength":0,"PieceSize":1048576,"Pieces":[]}"#));
    assert_eq!(PieceHashFile::parse(&file.encode()), Ok(file));
}

#[test]
fn hashes_are_spelled_in_base64_and_in_hexadecimal_digits() {
    // Dossier 5.4: the same hash in the handshake's bytes and in the example of 2.4.
    let hex = "d0736e438193f47002c78eb0a6d60abad71d679728dab193a392ca3b36448f53";
    let hash = HashOfHashes::from_hex(hex).unwrap();
    assert_eq!(hash.to_base64(), VECTORS[4].hash_of_hashes);
    assert_eq!((hash.to_hex(), hash.to_string()), (hex.to_owned(), hash.to_base64()));
    assert_eq!(HashOfHashes::from_hex(&hex.to_uppercase()), Ok(hash));
    assert_eq!(HashOfHashes::from_base64(&hash.to_base64()), Ok(hash));
    assert_eq!(hash.as_bytes()[..2], [0xd0, 0x73]);
    for text in ["", &hex[1..], &hex[2..], &format!("{hex}00"), &hex.replace('d', "g")] {
        assert_eq!(HashOfHashes::from_hex(text), Err(NotADigest::Hex), "{text}");
    }
}
