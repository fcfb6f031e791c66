//! Nothing here: every guest is a file in `examples/`.
