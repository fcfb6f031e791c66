//! What a stream of a run can be, whoever writes it: its name, its chunks, its size.
//!
//! A name that begins with `$` is the host's: `$input/…` is what was said to the run.

use super::limits::{MAX_STREAM_CHUNK_BYTES, MAX_STREAM_NAME_CHARS};

/// What is answered when a stream, or the number of a run's streams, would pass its limit.
pub const FULL: &str = "the stream is full: 10,000 chunks or 64 MiB, and 20 streams a run, are the limits";
/// What is answered to a chunk that is larger than [`MAX_STREAM_CHUNK_BYTES`].
pub const CHUNK_TOO_LARGE: &str = "a chunk of a stream can have 128 KiB at most";

/// Whether a stream that anybody but the host writes can have this name; the error is for people.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.starts_with('$') || !(1..=MAX_STREAM_NAME_CHARS).contains(&name.chars().count()) {
        return Err("the name of a stream must have 1 to 128 characters, of which `$` is not the first");
    }
    Ok(())
}

/// Whether a stream takes a chunk of so many bytes; the error is for people.
pub fn check_chunk(bytes: usize) -> Result<(), &'static str> {
    if bytes > MAX_STREAM_CHUNK_BYTES { Err(CHUNK_TOO_LARGE) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_empty_nor_long_nor_the_hosts() {
        for good in ["s", "a$b", &"é".repeat(128)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "$", "$input/a", &"x".repeat(129)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
