//! What several guests share. Every guest is a file in `examples/`.

pub mod orders;
