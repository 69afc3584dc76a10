//! Images of a node: the pause image and the small shell image, made of this machine's static busybox, and loading of others.

use std::path::{Path, PathBuf};

use crate::{
    command,
    error::{Error, Result},
    oci::{FileSource, ImageFile, ImageSpec, WrittenImage, write_image},
    packages,
};

/// Keeps a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "localhost/connected-cache-pause:1";

/// A shell with the usual small programs, on every node of the cluster: for volumes, and for tests.
///
/// It is this machine's busybox. That of Debian 12 crashes at `wget -T 5`; say `timeout 5 wget` instead.
pub const BUSYBOX_IMAGE: &str = "localhost/connected-cache-busybox:1";

/// As process 1 of a pod: the shell reaps whatever dies while it waits, and a signal ends the wait at once.
const PAUSE_SCRIPT: &str = "trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait $!; done";

/// Writes both images into `folder`.
pub(crate) fn write_own(folder: &Path) -> Result<Vec<WrittenImage>> {
    let busybox = packages::static_busybox().ok_or_else(|| Error::MissingProgram {
        program: "a static busybox".to_owned(),
        advice: "install busybox-static".to_owned(),
    })?;
    let applets = command::run(&busybox.to_string_lossy(), ["--list"])?;
    let pause = ImageSpec {
        name: PAUSE_IMAGE.to_owned(),
        entrypoint: ["/bin/busybox", "sh", "-c", PAUSE_SCRIPT].map(str::to_owned).to_vec(),
        files: vec![program("/bin/busybox", FileSource::File(busybox.clone())), link("/bin/sleep")],
        ..ImageSpec::default()
    };
    let mut files = vec![program("/bin/busybox", FileSource::File(busybox))];
    files.extend(applets.lines().filter(|name| *name != "busybox").map(|name| link(&format!("/bin/{name}"))));
    files.push(ImageFile { mode: 0o1777, ..program("/tmp", FileSource::Folder) });
    files.push(program("/etc/passwd", FileSource::Bytes(b"root:x:0:0:root:/:/bin/sh\n".to_vec())));
    let shell = ImageSpec {
        name: BUSYBOX_IMAGE.to_owned(),
        arguments: vec!["/bin/sh".to_owned()],
        files,
        ..ImageSpec::default()
    };
    Ok(vec![
        write_image(&pause, &folder.join("pause.tar"))?,
        write_image(&shell, &folder.join("busybox.tar"))?,
    ])
}

/// Loads an image tar into each of the containerds behind `sockets`, all at once.
pub(crate) async fn load(tar: &Path, sockets: Vec<PathBuf>) -> Result<()> {
    let mut loads = tokio::task::JoinSet::new();
    for socket in sockets {
        let tar = tar.to_owned();
        loads.spawn_blocking(move || {
            let arguments = ["--address".as_ref(), socket.as_os_str(), "--namespace=k8s.io".as_ref()];
            let import = ["images".as_ref(), "import".as_ref(), tar.as_os_str()];
            command::run("ctr", [arguments, import].concat()).map(drop)
        });
    }
    while let Some(loaded) = loads.join_next().await {
        loaded??;
    }
    Ok(())
}

fn program(path: &str, source: FileSource) -> ImageFile {
    ImageFile { path: path.to_owned(), mode: 0o755, user_id: 0, group_id: 0, source }
}

fn link(path: &str) -> ImageFile {
    program(path, FileSource::Link("busybox".to_owned()))
}
