//! A disk for tests: it passes everything through to a folder, fails when told to, and remembers what was done to it, so that
//! a test can see what a power cut at any point would have left.
//!
//! * [`FaultyDisk`]: a FUSE file system over a folder. [`Faults`] says what fails; the kernel caches pages as it does for a
//!   real disk, and every write reaches the layer before `write(2)` returns.
//! * [`Log`]: everything that changed the disk, in order and with contents. [`Log::after_power_cut`] builds the state of the
//!   disk after a power cut, by the rules in [`power_cut`].
//! * [`LoopDisk`]: a small real ext4 on a file, for a disk that is really full.
//!
//! The file system runs in a process of its own: a process that waits for a page of a file system that it serves itself can
//! neither go on nor be killed. That process is the test program once more, so each test program has [`disk_process!`] in
//! its root. All of this needs root and `/dev/fuse`; [`missing`] says what is not there.

mod disk;
mod faults;
mod file_system;
mod log;
mod loop_disk;
pub mod power_cut;
mod random;
mod requirements;
mod server;

pub use disk::FaultyDisk;
pub use faults::Faults;
pub use log::{Log, Node, Operation};
pub use loop_disk::LoopDisk;
pub use random::Random;
pub use requirements::missing;
pub use server::serve_when_told;

/// The test that is the disk's own process. To be put into the root of a test program that starts a [`FaultyDisk`].
#[macro_export]
macro_rules! disk_process {
    () => {
        #[test]
        #[ignore = "the process of the faulty disk, which the tests start"]
        fn faulty_disk_process() {
            $crate::serve_when_told();
        }
    };
}
