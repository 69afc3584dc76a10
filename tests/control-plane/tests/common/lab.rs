//! A mock with its control plane, asked over real TLS connections that trust nothing but its CA.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use connected_cache_mock_control_plane::{
    Config, Content, ControlPlane, FormulaObject, Listen, MockControlPlane, RequestRecord,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use super::{Answer, BIG, BIG_LENGTH, BIG_SEED, Wire};

/// Where vector 5 of the notes is: byte i is (31 i + 7) mod 256, 2,621,445 bytes.
pub(crate) const VECTOR_5: &str = "/files/vector5.bin";
/// Where vector 6 of the notes is: the one byte 07.
pub(crate) const VECTOR_6: &str = "/files/vector6.bin";
/// The query that every service but Geo wants at least.
pub(crate) const WHO: &str = "doClientVersion=10.1.0.13&profile=768&countryCode=DE";
/// Host that the requests name.
pub(crate) const HOST: &str = "services.example";

pub(crate) struct Lab {
    pub(crate) mock: MockControlPlane,
    pub(crate) http: SocketAddr,
    https: SocketAddr,
    connector: TlsConnector,
    pub(crate) folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) async fn start(control_plane: ControlPlane) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("files")).expect("a folder");
        let bytes: Vec<u8> = (0..2_621_445_u64).map(|i| (31 * i + 7).to_le_bytes()[0]).collect();
        std::fs::write(folder.path().join("files/vector5.bin"), bytes).expect("written");
        std::fs::write(folder.path().join("files/vector6.bin"), [7]).expect("written");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let formula = FormulaObject { path: BIG.to_owned(), length_bytes: BIG_LENGTH, seed: BIG_SEED };
        let mock = MockControlPlane::start(Config {
            listen: Listen { http: Some(loopback), https: Some(loopback) },
            content: Content { folder: Some(folder.path().to_owned()), formulas: vec![formula] },
            control_plane: Some(control_plane),
            ..Config::default()
        })
        .await
        .expect("mock starts");
        let (http, https) = (mock.http_address().expect("on"), mock.https_address().expect("on"));
        let connector = connector(&mock.ca_pem().expect("an own CA"));
        Self { mock, http, https, connector, folder }
    }

    /// One request on a connection of its own that comes from `source`.
    pub(crate) async fn request(&self, source: &str, request: &str) -> Answer {
        let socket = TcpSocket::new_v4().expect("a socket");
        let source: IpAddr = source.parse().expect("an address");
        socket.bind(SocketAddr::new(source, 0)).expect("a loopback address");
        let stream = socket.connect(self.https).await.expect("connects");
        let name = ServerName::try_from(HOST).expect("a name");
        let mut wire = Wire::over(self.connector.connect(name, stream).await.expect("the CA is right"));
        wire.send(request).await;
        wire.answer(request.starts_with("HEAD")).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.request("127.0.0.1", &format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await
    }

    /// The JSON of an answer that must be 200 and `text/json`.
    pub(crate) async fn json(&self, target: &str) -> Value {
        let answer = self.get(target).await;
        assert_eq!(answer.status, 200, "{target}: {}", text(&answer));
        assert_eq!(answer.header("Content-Type"), Some("text/json"));
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// The reason of a refusal, which must stand in the answer and in the request log.
    pub(crate) async fn refused(&self, target: &str, status: u16) -> String {
        let answer = self.get(target).await;
        self.reason(&answer, status)
    }

    pub(crate) fn reason(&self, answer: &Answer, status: u16) -> String {
        assert_eq!(answer.status, status, "{}", text(answer));
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let reason = json["error"].as_str().expect("a reason").to_owned();
        let logged = self.last();
        assert_eq!((logged.refusal.as_deref(), logged.status), (Some(reason.as_str()), Some(status)));
        reason
    }

    pub(crate) fn last(&self) -> RequestRecord {
        self.mock.requests().requests.last().expect("a request").clone()
    }

    /// Path of the array for a content id, as Discovery tells it.
    pub(crate) async fn array(&self, content_id: &str) -> String {
        let target = format!(
            "/disc/v2/content/{content_id}?doClientVersion=10.1.0.13&profile=768&CountryCode=DE&partitionId=0"
        );
        let answer = self.json(&target).await;
        let url = answer[0]["CollectiveArray"].as_str().expect("an array").to_owned();
        url.strip_prefix(&format!("https://{HOST}")).expect("this host").to_owned()
    }

    pub(crate) async fn post(&self, source: &str, array: &str, body: &str) -> Answer {
        let request = format!(
            "POST {array}join/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.request(source, &request).await
    }

    /// The answer to a join, which must be accepted.
    pub(crate) async fn join(&self, source: &str, array: &str, body: &Value) -> Value {
        let answer = self.post(source, array, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", text(&answer));
        serde_json::from_slice(&answer.body).expect("JSON")
    }
}

/// The join of the notes, all values strings, by peer number `number` at 192.168.1.`number`.
pub(crate) fn join_of(number: u8, content_id: &str) -> Value {
    json!({
        "ContentId": content_id,
        "AltCatalogId": "",
        "PeerId": peer_id(number),
        "ReportedIp": format!("192.168.1.{number}"),
        "SubnetMask": "255.255.255.0",
        "Ipv6": "",
        "IsBackground": "0",
        "ClientDialectVersionMajor": "10",
        "ClientDialectVersionMinor": "1",
        "ClientDialectVersionBuild": "0",
        "ClientDialectVersionRevision": "12",
        "Uploaded": "0",
        "Downloaded": "0",
        "DownloadedCdn": "0",
        "DownloadedDoinc": "0",
        "Left": "73473792",
        "JoinRequestEvent": "1",
        "RestrictedUpload": "0",
        "PeersWanted": "255",
        "GroupId": "",
        "Scope": "1",
        "UploadedBPS": "0",
        "DownloadedBPS": "0",
        "Profile": "768",
        "Seq": "0",
    })
}

pub(crate) fn peer_id(number: u8) -> String {
    format!("111111111111111111111111111111110000{number:04}")
}

/// `PeerId`s of an answer, in its order.
pub(crate) fn peers_of(answer: &Value) -> Vec<&str> {
    let peers = answer["Peers"].as_array().expect("a list of peers");
    peers.iter().map(|peer| peer["PeerId"].as_str().expect("an id")).collect()
}

pub(crate) fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn connector(ca_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("PEM")).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
