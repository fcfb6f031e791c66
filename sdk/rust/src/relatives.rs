//! The run itself, and those it descends from.

use crate::bindings::dacapo::task::relatives as wit;

/// One of the runs of the tree. What is done to the [metadata](crate::metadata), the
/// [tags](crate::tags) and the [streams](crate::streams) of one can be done to those of its parent and
/// of the root, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Relative {
    /// This run.
    #[default]
    ThisRun,
    /// The run that triggered this one; this run itself, where none did.
    Parent,
    /// The first run of the tree, which may be this one.
    Root,
}

impl From<Relative> for wit::Relative {
    fn from(relative: Relative) -> Self {
        match relative {
            Relative::ThisRun => Self::ThisRun,
            Relative::Parent => Self::Parent,
            Relative::Root => Self::Root,
        }
    }
}
