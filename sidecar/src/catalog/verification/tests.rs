use connected_cache_core::PieceLayout;
use connected_cache_wire::delivery_optimization::{ContentId, HashOfHashes, PieceHashFileBuilder};

use super::*;

/// Content of vector 5 of the dossier: two pieces and a part of one.
const LENGTH: u64 = 2_621_445;

fn content() -> Vec<u8> {
    (0..LENGTH).map(|index| (31 * index + 7).to_le_bytes()[0]).collect()
}

fn metadata(content: &[u8], piece_length_bytes: u32) -> Metadata {
    let mut builder = PieceHashFileBuilder::with_piece_length(piece_length_bytes).unwrap();
    builder.push(content).unwrap();
    let pieces = builder.finish();
    let hash_of_hashes = pieces.hash_of_hashes();
    let content_id = ContentId::from_hash_of_hashes(hash_of_hashes);
    let policy = Policy { content_id, hash_of_hashes, piece_hash_file_urls: Vec::new(), expires_at: 0 };
    Metadata { policy, pieces: Arc::new(pieces) }
}

/// A piece in two chunks of odd lengths.
fn chunks(content: &[u8], piece: PieceIndex) -> Vec<Bytes> {
    let range = PieceLayout::new(content.len() as u64).range_of(piece);
    let bytes = Bytes::copy_from_slice(
        &content[usize::try_from(range.first).unwrap()..=usize::try_from(range.last).unwrap()],
    );
    let middle = bytes.len() / 3;
    vec![bytes.slice(..middle), bytes.slice(middle..)]
}

#[test]
fn hashes_of_a_mebibyte_are_those_of_the_stored_pieces() {
    let content = content();
    let hashes = Hashes::new(metadata(&content, 1 << 20)).unwrap();
    let vector = HashOfHashes::from_base64("0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=").unwrap();
    assert_eq!(hashes.policy().hash_of_hashes, vector);
    let layout = PieceLayout::new(LENGTH);
    for piece in (0..3).map(|number| layout.piece(number).unwrap()) {
        let right = chunks(&content, piece);
        let compared = hashes.compare(piece, &right);
        assert!(compared.is_right);
        assert_eq!(hashes.sha256_of(index(piece)), Some(compared.sha256));
        let mut wrong = right.concat();
        wrong[right[0].len()] ^= 1;
        assert!(!hashes.compare(piece, &[wrong.into()]).is_right);
        assert!(!hashes.compare(piece, &right[..1]).is_right);
    }
    // The first two are the same bytes, so their place is not told by them; the last is short.
    assert!(hashes.compare(layout.piece(1).unwrap(), &chunks(&content, layout.piece(0).unwrap())).is_right);
    assert!(!hashes.compare(layout.piece(2).unwrap(), &chunks(&content, layout.piece(0).unwrap())).is_right);
}

#[test]
fn shorter_hashed_pieces_are_checked_one_by_one_and_longer_ones_not_at_all() {
    let content = content();
    let layout = PieceLayout::new(LENGTH);
    let hashes = Hashes::new(metadata(&content, 1 << 16)).unwrap();
    for piece in (0..3).map(|number| layout.piece(number).unwrap()) {
        let right = chunks(&content, piece);
        let compared = hashes.compare(piece, &right);
        assert!(compared.is_right);
        assert_eq!(compared.sha256, <[u8; 32]>::from(Sha256::digest(right.concat())));
        assert_eq!(hashes.sha256_of(index(piece)), None);
        let mut wrong = right.concat();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(!hashes.compare(piece, &[wrong.into()]).is_right);
        assert!(!hashes.compare(piece, &[]).is_right);
    }
    for piece_length_bytes in [1 << 21, (1 << 20) + 1, 3 << 18] {
        assert!(Hashes::new(metadata(&content, piece_length_bytes)).is_none(), "{piece_length_bytes}");
    }
}

#[tokio::test]
async fn one_asks_and_all_wait_for_the_verdict() {
    let verification = Arc::new(Verification::default());
    assert!(verification.shows_at_once());
    assert!(verification.begin(100) && !verification.begin(100));
    assert!(!verification.shows_at_once());
    let waiting = tokio::spawn({
        let verification = verification.clone();
        async move { verification.concluded().await }
    });
    assert!(verification.conclude(|_| Some(Verdict::Simple(SimpleMode::Pending))));
    assert!(matches!(waiting.await.unwrap(), Verdict::Simple(SimpleMode::Pending)));
    assert!(verification.shows_at_once());
    verification.end(100, 200);
    assert!(!verification.is_due(199) && !verification.begin(199) && verification.begin(200));
    // What is known holds while it is asked again.
    assert!(matches!(verification.verdict(), Verdict::Simple(SimpleMode::Pending)));
    verification.end(200, 300);
}

#[test]
fn a_piece_that_is_fetched_is_asked_about_although_it_seemed_that_nothing_was_needed() {
    let verification = Verification::default();
    verification.postpone(1000);
    assert!(!verification.is_due(5));
    assert!(verification.begin(5));
}

#[test]
fn bad_pieces_are_counted_until_a_right_one_comes() {
    let (verification, layout) = (Verification::default(), PieceLayout::new(LENGTH));
    let (first, second) = (layout.piece(0).unwrap(), layout.piece(1).unwrap());
    assert_eq!(
        (verification.reject(first), verification.reject(second), verification.reject(first)),
        (1, 1, 2)
    );
    verification.accept(first);
    assert!(!verification.was_rejected(first) && verification.was_rejected(second));
    assert_eq!(verification.reject(first), 1);
}

#[test]
fn hashes_that_confirm_nothing_of_several_pieces_are_of_another_content() {
    let (verification, layout) = (Verification::default(), PieceLayout::new(LENGTH));
    let piece = |number| layout.piece(number).unwrap();
    verification.reject(piece(0));
    verification.reject(piece(0));
    assert!(!verification.is_of_other_content(), "it may be broken");
    verification.reject(piece(1));
    assert!(verification.is_of_other_content());
    verification.accept(piece(2));
    assert!(!verification.is_of_other_content());
    verification.begin_anew(true);
    assert!(!verification.is_of_other_content() && !verification.was_rejected(piece(0)));
}

#[test]
fn hashes_of_what_is_whole_are_let_go_and_a_reason_is_news_once() {
    let verification = Verification::default();
    let hashes = Arc::new(Hashes::new(metadata(&content(), 1 << 20)).unwrap());
    verification.conclude(|_| Some(Verdict::Authenticated(hashes.clone())));
    verification.rest();
    assert!(matches!(verification.verdict(), Verdict::Unasked));
    verification.conclude(|_| Some(Verdict::Disputed(hashes)));
    verification.rest();
    assert!(matches!(verification.verdict(), Verdict::Disputed(_)));
    assert!(verification.is_news(SimpleMode::BadPieces) && !verification.is_news(SimpleMode::BadPieces));
    assert!(verification.is_news(SimpleMode::Unreachable));
    verification.is_well();
    assert!(verification.is_news(SimpleMode::Unreachable));
}

#[test]
fn the_time_of_a_dispute_that_began_during_a_question_counts_and_that_of_an_older_one_is_over() {
    let hashes = Arc::new(Hashes::new(metadata(&content(), 1 << 20)).unwrap());
    let verification = Verification::default();
    assert!(verification.begin(100));
    verification.conclude(|_| Some(Verdict::Disputed(hashes)));
    verification.postpone(1000);
    verification.end(101, 50_000);
    assert!(!verification.is_due(999) && verification.begin(1000));
    verification.end(1001, 1060);
    assert!(!verification.begin(1059) && verification.begin(1060));
}
