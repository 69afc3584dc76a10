use proptest::prelude::*;

use super::*;
use crate::invariants;

/// Of the notes that the dossier calls S2: an id of Windows Update, an Intune id, and what ContentPolicy answered for it.
const SHA1: &str = "e2797dcfc9adc3d026152f00465e4e04f643675d";
const INTUNE_ID: &str = "501FCB7D-A970-4E34-A753-4B48FE5D8BEF_6ecd274d-26f9-49e2-b29c-60a001eaa538_03f2334f-03e3-43c8-9db5-24d8979ebafd_fade6ecb-833a-4664-9794-c873ac4734ef-intunewin-bin_a91660a8-1dde-485b-98fa-514e6616d515_1";
const CANONICAL: &str = "DO-pnfBh6zEGx3sxf6WBId825S6VQpwJTWIaAWU-cBsHD0=";
const HASH_OF_HASHES_OF_CANONICAL: &str = "pnfBh6zEGx3sxf6WBId825S6VQpwJTWIaAWU/cBsHD0=";

fn parse(text: &str) -> Result<ContentId, ContentIdError> {
    ContentId::parse(text)
}

#[test]
fn forty_digits_are_a_sha1() {
    let id = parse(SHA1).unwrap();
    let ContentIdForm::Sha1(bytes) = id.form() else { panic!("{id:?}") };
    assert_eq!((bytes[0], bytes[19]), (0xe2, 0x5d));
    assert_eq!(id.to_string(), SHA1);
    // Either case, and each keeps its own.
    let upper = parse(&SHA1.to_uppercase()).unwrap();
    assert_eq!((upper.form(), upper.as_str()), (id.form(), SHA1.to_uppercase().as_str()));
}

#[test]
fn the_composite_of_intune_keeps_its_spelling() {
    let id = parse(INTUNE_ID).unwrap();
    assert_eq!((id.form(), id.to_string().as_str()), (ContentIdForm::Intune, INTUNE_ID));
    let last_number = INTUNE_ID.replace("515_1", "515_4294967295");
    assert_eq!(last_number.len(), ContentId::MAX_BYTES);
    assert_eq!(parse(&last_number).unwrap().as_str(), last_number);
}

#[test]
fn the_canonical_id_holds_the_hash_of_hashes() {
    let hash = HashOfHashes::from_base64(HASH_OF_HASHES_OF_CANONICAL).unwrap();
    let id = parse(CANONICAL).unwrap();
    assert_eq!(id.form(), ContentIdForm::HashOfHashes(hash));
    assert_eq!((ContentId::from_hash_of_hashes(hash), id.as_str()), (id.clone(), CANONICAL));
    // The example of dossier 2.4.
    let hash = HashOfHashes::from_base64("0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=").unwrap();
    let id = "DO-0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=";
    assert_eq!(ContentId::from_hash_of_hashes(hash).as_str(), id);
    assert_eq!(parse(id).unwrap().form(), ContentIdForm::HashOfHashes(hash));
}

/// Vector 7 of dossier 3.4 has both signs.
#[test]
fn slash_is_written_as_hyphen_and_plus_as_underscore() {
    let hash = HashOfHashes::from_base64("92+Yot36fMJP/GPQYL3j3JYz2wnEnob5MVpjG9mc6tI=").unwrap();
    let id = ContentId::from_hash_of_hashes(hash);
    assert_eq!(id.as_str(), "DO-92_Yot36fMJP-GPQYL3j3JYz2wnEnob5MVpjG9mc6tI=");
    assert_eq!(parse(id.as_str()), Ok(id));
}

#[test]
fn texts_of_no_known_form_are_refused() {
    use ContentIdError::{BadHashOfHashes, BadIntune, Empty, TooLong, UnknownForm};
    let guid = "fade6ecb-833a-4664-9794-c873ac4734ef";
    let cases = [
        (String::new(), Empty),
        ("test".to_owned(), UnknownForm),
        (guid.to_owned(), UnknownForm),
        (SHA1[1..].to_owned(), UnknownForm),
        (format!("{SHA1}0"), UnknownForm),
        (format!("{SHA1}00"), UnknownForm),
        (SHA1.replace('e', "g"), UnknownForm),
        (format!(" {SHA1}"), UnknownForm),
        (CANONICAL.to_lowercase(), UnknownForm),
        ("DO-".to_owned(), BadHashOfHashes),
        (CANONICAL.replace('=', ""), BadHashOfHashes),
        (CANONICAL.replace("U-c", "U/c"), BadHashOfHashes),
        (CANONICAL.replace("U-c", "U+c"), BadHashOfHashes),
        (CANONICAL.replace("HD0=", "HD1="), BadHashOfHashes),
        (format!("DO-{SHA1}"), BadHashOfHashes),
        (INTUNE_ID.replace("515_1", "515_"), BadIntune),
        (INTUNE_ID.replace("515_1", "515"), BadIntune),
        (INTUNE_ID.replace("515_1", "515_x"), BadIntune),
        (INTUNE_ID.replace("501FCB7D-", "501FCB7D_"), BadIntune),
        (INTUNE_ID.replace("501FCB7D-A970", "501FCB7DA-970"), BadIntune),
        (INTUNE_ID.replace("501FCB7D", "501FCB7G"), BadIntune),
        (INTUNE_ID.replace("501FCB7D-A970-4E34-A753-4B48FE5D8BEF_", ""), BadIntune),
        (format!("{guid}-intunewin-bin_{guid}_1"), BadIntune),
        (INTUNE_ID.replace("515_1", "515_12345678901"), TooLong { bytes: ContentId::MAX_BYTES + 1 }),
        ("0".repeat(1 << 20), TooLong { bytes: 1 << 20 }),
    ];
    for (text, error) in cases {
        assert_eq!(parse(&text), Err(error), "{text:.250}");
    }
}

proptest! {
    #[test]
    fn any_text_is_an_id_or_an_error(text: String) {
        invariants::content_id(&text);
    }

    #[test]
    fn texts_like_ids_are_ids_or_errors(
        text in "(DO-[A-Za-z0-9_+/-]{42}[A-Za-z0-9]=)|([0-9A-Fa-f]{39,41})|(([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}[_-]?){3,5}-intunewin-bin_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}_[0-9]{1,11})",
    ) {
        invariants::content_id(&text);
    }

    #[test]
    fn every_hash_has_one_id_that_gives_it_back(bytes: [u8; 32]) {
        let id = ContentId::from_hash_of_hashes(HashOfHashes::from_bytes(bytes));
        prop_assert!(!id.as_str().contains(['/', '+']));
        prop_assert_eq!(parse(id.as_str()), Ok(id));
    }
}
