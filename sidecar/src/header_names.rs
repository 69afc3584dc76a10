//! Spelling of header names on the wire. Clients compare `Content-Length` and `Content-Range` case-sensitively (dossier
//! delivery-optimization 1.4). hyper's title case is right for those; names such as `ETag` and `X-CID` it would spell `Etag`
//! and `X-Cid`. hyper writes the spelling that a message was received with if that message's extensions are put on a
//! reply, so one message with the right spellings is read at the start and lends its extensions to all replies.

use bytes::Bytes;
use http::{Extensions, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Names whose usual spelling is not title case.
const SPELLINGS: &[u8] = b"HTTP/1.1 200 OK\r\nETag: x\r\nX-CID: x\r\nContent-MD5: x\r\nWWW-Authenticate: x\r\nContent-Length: 0\r\n\r\n";

/// Extensions for replies. Empty if hyper should ever stop lending spellings; then title case remains.
pub(crate) async fn spellings() -> Extensions {
    read_template().await.unwrap_or_default()
}

async fn read_template() -> Option<Extensions> {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let (mut sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(ours))
        .await
        .ok()?;
    let connection = tokio::spawn(connection);
    let answering = async {
        let mut request = [0; 512];
        let _ = theirs.read(&mut request).await;
        let _ = theirs.write_all(SPELLINGS).await;
    };
    let request = Request::builder().uri("/").body(Empty::new()).ok()?;
    let (response, ()) = tokio::join!(sender.send_request(request), answering);
    connection.abort();
    Some(response.ok()?.into_parts().0.extensions)
}
