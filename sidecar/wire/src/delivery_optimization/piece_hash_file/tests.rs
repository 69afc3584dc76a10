//! Known answers of dossier 3.4, the builder, and properties; the reader's rules one by one stand in `tests/rules.rs`.

mod known_answers;
mod properties;
mod rules;

use super::*;

/// Vector 6 of dossier 3.4 as it stands there: content of the one byte 07.
const ONE_BYTE: &str = r#"{"MajorVersion":1,"MinorVersion":0,"HashOfHashes":"11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=","ContentLength":1,"PieceSize":1048576,"Pieces":["yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce/HwBe6Hk="]}"#;

fn parse(text: &str) -> Result<PieceHashFile, PieceHashFileError> {
    PieceHashFile::parse(text.as_bytes())
}
