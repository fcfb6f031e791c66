//! Everything that is proven through the doors users use. The tests are in `it/`; this library
//! only knows where the guests are.

/// The components of `guests/examples` and of `sample-tasks`, by the paths of their files.
pub mod guests {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
}
