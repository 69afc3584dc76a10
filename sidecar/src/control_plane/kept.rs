//! What survives a restart: the replies of Geo and KeyValue with their expiry, and our peer id, which is made once. One JSON file,
//! replaced as a whole; what can't be read begins anew.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use connected_cache_wire::swarm::PeerId;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::{geo::GeoReply, key_value::KeyValueReply};
use crate::tasks::Tasks;

/// A longer file is none of ours.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A reply and until when it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Held<T> {
    pub(super) value: T,
    /// Seconds since 1970.
    pub(super) expires_at: u64,
}

/// Everything that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Contents {
    pub(super) peer_id: PeerId,
    /// Which Geo was asked and as whom; the replies are of no use to another.
    pub(super) asked: String,
    pub(super) geo: Option<Held<GeoReply>>,
    /// The address that we had when Geo was asked.
    pub(super) asked_from: Option<IpAddr>,
    pub(super) key_value: Option<Held<KeyValueReply>>,
}

/// The file and what it should hold.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    path: Arc<PathBuf>,
    contents: Arc<Mutex<Contents>>,
    /// One writer at a time, so that the last one writes the latest.
    writing: Arc<Mutex<()>>,
    tasks: Tasks,
}

impl Kept {
    /// Reads the file. `asked` says which Geo is asked and as whom; no reply may hold beyond `latest`, seconds since 1970.
    pub(super) fn open(path: PathBuf, asked: String, latest: u64, tasks: Tasks) -> Self {
        let read = read(&path).unwrap_or_else(|reason| {
            tracing::warn!(path = %path.display(), reason, "what was kept of the control plane can't be used");
            None
        });
        let is_new = read.is_none();
        let mut contents = read.unwrap_or_else(|| Contents {
            peer_id: PeerId::from_guid(rand::random()),
            asked: asked.clone(),
            geo: None,
            asked_from: None,
            key_value: None,
        });
        if contents.asked != asked {
            contents = Contents { asked, geo: None, asked_from: None, key_value: None, ..contents };
        }
        for expires_at in [
            contents.geo.as_mut().map(|held| &mut held.expires_at),
            contents.key_value.as_mut().map(|held| &mut held.expires_at),
        ]
        .into_iter()
        .flatten()
        {
            *expires_at = latest.min(*expires_at);
        }
        let kept = Self {
            path: Arc::new(path),
            contents: Arc::new(Mutex::new(contents)),
            writing: Arc::default(),
            tasks,
        };
        if is_new {
            kept.write_soon();
        }
        kept
    }

    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock()
    }

    /// Writes what is there now, in the background.
    pub(super) fn write_soon(&self) {
        let kept = self.clone();
        self.tasks.spawn(async move {
            let _ = tokio::task::spawn_blocking(move || kept.write()).await;
        });
    }

    fn write(&self) {
        let _alone = self.writing.lock();
        let contents = self.contents.lock().clone();
        if let Err(error) = replace(&self.path, &contents) {
            tracing::warn!(path = %self.path.display(), %error, "unable to keep replies of the control plane");
        }
    }
}

/// `Ok(None)` = there is none.
fn read(path: &Path) -> Result<Option<Contents>, String> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| error.to_string())?,
    };
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err("it is too long".to_owned());
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| error.to_string())
}

/// The file is the old one or the new one at every moment.
fn replace(path: &Path, contents: &Contents) -> io::Result<()> {
    let text = serde_json::to_vec(contents)?;
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, asked: &str) -> Kept {
        Kept::open(path.to_owned(), asked.to_owned(), 1000, Tasks::default())
    }

    fn geo(expires_at: u64) -> Held<GeoReply> {
        let text = r#"{"KeyValue_EndpointFullUri":"https://kv.example/all","Version":"1"}"#;
        let reply = super::super::client::Reply { text: text.into(), max_age: None };
        Held { value: super::super::geo::decode(&reply).unwrap(), expires_at }
    }

    #[tokio::test]
    async fn what_was_written_is_there_again_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control-plane.json");
        let kept = open(&path, "one");
        let peer_id = kept.contents().peer_id;
        assert!(peer_id.to_hex().ends_with("00000000"));
        kept.contents().geo = Some(geo(5000));
        kept.write();
        let again = open(&path, "one").contents().clone();
        assert_eq!((again.peer_id, again.geo), (peer_id, Some(geo(1000))));
        let other = open(&path, "another").contents().clone();
        assert_eq!((other.peer_id, other.geo), (peer_id, None), "replies of another Geo were taken");
        assert!(!path.with_extension("new").exists());
    }

    #[tokio::test]
    async fn a_broken_file_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control-plane.json");
        let kept = open(&path, "one");
        kept.write();
        let whole = fs::read(&path).unwrap();
        let cut = whole[..whole.len() / 2].to_vec();
        let other_id = String::from_utf8(whole.clone()).unwrap().replace("00000000", "0000000").into_bytes();
        for broken in [Vec::new(), b"{}".to_vec(), b"\xff\xfe".to_vec(), cut, other_id] {
            fs::write(&path, &broken).unwrap();
            let contents = open(&path, "one").contents().clone();
            assert_ne!(contents.peer_id, kept.contents().peer_id, "{broken:?}");
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(open(&path, "one").contents().peer_id, kept.contents().peer_id);
    }

    #[tokio::test]
    async fn every_volume_set_has_its_own_peer_id() {
        let folder = tempfile::tempdir().unwrap();
        let ids = ["a", "b"].map(|name| open(&folder.path().join(name), "one").contents().peer_id);
        assert_ne!(ids[0], ids[1]);
    }
}
