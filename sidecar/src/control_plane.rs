//! The Delivery Optimization control plane: who may share which content, and which hash authenticates its piece hash file
//! (dossier delivery-optimization, sections 2 to 4).

mod metadata;
mod simple_mode;

pub(crate) use metadata::{Metadata, Policy};
pub(crate) use simple_mode::SimpleMode;
