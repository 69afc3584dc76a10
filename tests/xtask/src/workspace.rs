//! Where things are in this checkout.

use std::path::{Path, PathBuf};

/// Version of every crate, of the chart and of the images.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).map_or_else(|| manifest.to_owned(), Path::to_owned)
}

/// Cargo's target folder, where everything that is built goes.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
