use super::*;

fn example(compression: LayerCompression, source: FileSource) -> ImageSpec {
    let file =
        |path: &str, mode, source| ImageFile { path: path.to_owned(), mode, user_id: 0, group_id: 0, source };
    ImageSpec {
        name: "localhost/example:1".to_owned(),
        entrypoint: vec!["/bin/tool".to_owned()],
        user: "65532:65532".to_owned(),
        environment: vec!["A=b".to_owned()],
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        files: vec![
            file("/etc/ssl/certs/ca.crt", 0o644, FileSource::Bytes(b"certificates".to_vec())),
            file("bin/tool", 0o755, source),
            file("/bin/sh", 0, FileSource::Link("tool".to_owned())),
            ImageFile {
                path: "/cache".to_owned(),
                mode: 0o700,
                user_id: 65532,
                group_id: 65532,
                source: FileSource::Folder,
            },
        ],
        compression,
        ..ImageSpec::default()
    }
}

/// Path, mode, owner, time and bytes of every entry, in their order.
fn entries(bytes: &[u8]) -> Vec<(String, u32, u64, u64, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            (path, header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap(), content)
        })
        .collect()
}

fn blob<'a>(all: &'a [(String, u32, u64, u64, Vec<u8>)], digest: &serde_json::Value) -> &'a [u8] {
    let path = digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let bytes = &all.iter().find(|entry| entry.0 == path).unwrap().4;
    assert_eq!(path, blob_path(bytes), "a blob is named by its hash");
    bytes
}

#[test]
fn two_runs_give_the_same_bytes_whatever_the_time_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("tool");
    std::fs::write(&source, b"program").unwrap();
    for compression in [LayerCompression::Plain, LayerCompression::Gzip] {
        let first = folder.path().join("first.tar");
        let second = folder.path().join("second.tar");
        let written = write_image(&example(compression, FileSource::File(source.clone())), &first).unwrap();
        File::options()
            .write(true)
            .open(&source)
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        let mut reversed = example(compression, FileSource::File(source.clone()));
        reversed.files.reverse();
        assert_eq!(write_image(&reversed, &second).unwrap().digest, written.digest);
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "{compression:?} differs");
    }
}

#[test]
fn index_manifest_config_and_layer_hang_together() {
    let folder = tempfile::tempdir().unwrap();
    for compression in [LayerCompression::Plain, LayerCompression::Gzip] {
        let path = folder.path().join("image.tar");
        let written =
            write_image(&example(compression, FileSource::Bytes(b"program".to_vec())), &path).unwrap();
        let all = entries(&std::fs::read(&path).unwrap());
        assert!(all.iter().all(|entry| entry.3 == 0), "a time is in it");
        let named = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&all.iter().find(|entry| entry.0 == name).unwrap().4).unwrap()
        };
        let index = named("index.json");
        assert_eq!(index["manifests"][0]["digest"], written.digest.as_str());
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "localhost/example:1");
        assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1");
        let manifest: serde_json::Value =
            serde_json::from_slice(blob(&all, &index["manifests"][0]["digest"])).unwrap();
        let config: serde_json::Value =
            serde_json::from_slice(blob(&all, &manifest["config"]["digest"])).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/tool"]));
        let mut layer = blob(&all, &manifest["layers"][0]["digest"]).to_vec();
        assert_eq!(manifest["layers"][0]["size"], layer.len());
        if compression == LayerCompression::Gzip {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(layer.as_slice()).read_to_end(&mut plain).unwrap();
            layer = plain;
        }
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&layer)));
        let docker = named("manifest.json");
        assert_eq!(docker[0]["RepoTags"], json!(["localhost/example:1"]));
        for path in [&docker[0]["Config"], &docker[0]["Layers"][0]] {
            assert!(all.iter().any(|entry| entry.0 == path.as_str().unwrap()), "{path} is missing");
        }
        let files: Vec<_> = entries(&layer).into_iter().map(|entry| (entry.0, entry.1, entry.2)).collect();
        let expected = [
            ("bin/", 0o755, 0),
            ("bin/sh", 0o777, 0),
            ("bin/tool", 0o755, 0),
            ("cache/", 0o700, 65532),
            ("etc/", 0o755, 0),
            ("etc/ssl/", 0o755, 0),
            ("etc/ssl/certs/", 0o755, 0),
            ("etc/ssl/certs/ca.crt", 0o644, 0),
        ];
        assert_eq!(files, expected.map(|(path, mode, owner)| (path.to_owned(), mode, owner)));
    }
}

#[test]
fn names_without_tag_and_paths_upwards_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    let mut nameless = example(LayerCompression::Plain, FileSource::Folder);
    nameless.name = "localhost:5000/example".to_owned();
    assert!(write_image(&nameless, &path).unwrap_err().to_string().contains("tag"));
    let mut upwards = example(LayerCompression::Plain, FileSource::Folder);
    upwards.files[0].path = "/a/../../b".to_owned();
    assert!(write_image(&upwards, &path).unwrap_err().to_string().contains("no path"));
    let mut twice = example(LayerCompression::Plain, FileSource::Folder);
    twice.files[0].path = "/bin/tool".to_owned();
    assert!(write_image(&twice, &path).unwrap_err().to_string().contains("twice"));
    assert!(!path.exists());
}
