use crate::swarm::{
    FrameError, FrameReader, HandshakeForm, HandshakeReader, MAX_FRAME_LENGTH_BYTES, MAX_PIECE_DATA_BYTES,
    Message,
};

/// Any bytes as a handshake, whole and byte by byte.
///
/// # Panics
/// When an invariant does not hold.
pub fn swarm_handshake(bytes: &[u8]) {
    let mut rest = bytes;
    let whole = HandshakeReader::default().read(&mut rest);
    let mut reader = HandshakeReader::default();
    let mut used = 0;
    let mut slowly = Ok(None);
    while let (Ok(None), Some(byte)) = (&slowly, bytes.get(used)) {
        slowly = reader.read(&mut [*byte].as_slice());
        used += 1;
    }
    match (whole, slowly) {
        (Ok(Some((handshake, form))), slowly) => {
            assert_eq!(slowly, Ok(Some((handshake, form))));
            assert_eq!(used, form.length_bytes());
            assert_eq!(rest.len(), bytes.len() - used, "what follows is left");
            let mut again = handshake.encode(form);
            assert_eq!(again.len(), form.length_bytes());
            // The constant is not looked at.
            let constant = if form == HandshakeForm::Short { 15..23 } else { 18..26 };
            again[constant.clone()].copy_from_slice(&bytes[constant]);
            assert_eq!(again, bytes[..used]);
        }
        (Ok(None), slowly) => {
            assert_eq!(slowly, Ok(None));
            assert!(rest.is_empty() && bytes.len() < HandshakeForm::Long.length_bytes());
        }
        (Err(error), slowly) => {
            // Byte by byte it is refused earlier, having seen less of the name or of its length.
            let error_slowly = slowly.expect_err("the same bytes");
            assert_eq!(error_slowly.code(), error.code());
            assert!(used <= HandshakeForm::Long.length_bytes());
        }
    }
}

/// Any bytes as frames: whole, byte by byte, and in runs. The first byte is the longest bitfield that is taken.
///
/// # Panics
/// When an invariant does not hold.
pub fn swarm_frames(bytes: &[u8]) {
    let Some((max_bitfield_bytes, bytes)) = bytes.split_first() else { return };
    let max_bitfield_bytes = u32::from(*max_bitfield_bytes);
    let whole = read_frames(max_bitfield_bytes, bytes, bytes.len());
    for run in [1, 7] {
        assert_eq!(read_frames(max_bitfield_bytes, bytes, run), whole, "in runs of {run}");
    }
    let (messages, end) = whole;
    let mut written = Vec::new();
    for (message, data) in &messages {
        let before = written.len();
        message.encode(&mut written);
        assert!(written.len() - before <= MAX_FRAME_LENGTH_BYTES as usize + 4);
        written.extend_from_slice(data);
        match message {
            Message::Piece(range) => {
                assert!((1..=MAX_PIECE_DATA_BYTES).contains(&range.length));
                assert!(data.len() <= range.length as usize);
            }
            Message::Bitfield(bits) => assert!(bits.len() <= max_bitfield_bytes as usize),
            _ => assert!(data.is_empty()),
        }
    }
    if end.is_ok() {
        // What we write is what came, but for bytes without a meaning.
        let again = read_frames(max_bitfield_bytes, &written, written.len().max(1));
        assert_eq!(again, (messages, Ok(())));
    }
}

type Read = (Vec<(Message, Vec<u8>)>, Result<(), FrameError>);

/// Messages with as much of their data as came.
fn read_frames(max_bitfield_bytes: u32, bytes: &[u8], run: usize) -> Read {
    let mut reader = FrameReader::new(max_bitfield_bytes);
    let mut messages: Vec<(Message, Vec<u8>)> = Vec::new();
    for mut input in bytes.chunks(run.max(1)) {
        loop {
            if reader.data_left() > 0 {
                let data = reader.take_data(&mut input);
                if let Some((_, taken)) = messages.last_mut() {
                    taken.extend_from_slice(data);
                }
                if input.is_empty() {
                    break;
                }
            }
            match reader.read(&mut input) {
                Ok(None) => break,
                Ok(Some(message)) => messages.push((message, Vec::new())),
                Err(error) => return (messages, Err(error)),
            }
        }
        assert!(input.is_empty(), "everything was looked at");
    }
    (messages, Ok(()))
}
