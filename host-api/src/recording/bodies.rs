//! Bodies of responses without what is not to be shown, in the pieces in which they were read.
//!
//! A secret may stand in two pieces, a part of it in each: they are looked at as one. What stands for it is cut where it
//! was, so that no piece is longer than the secret and its surroundings were, but for secrets that are shorter than that.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::Censor;
use crate::http::{REDACTED, StreamAnswer};
use crate::journal::{self, Blob, Entry, Header, Kind};
use crate::world::HostFault;

/// The pieces of all bodies, by the numbers of their requests, each in its order.
pub(super) struct Bodies(HashMap<u32, VecDeque<Bytes>>);

impl Bodies {
    /// Those of a journal.
    ///
    /// # Errors
    ///
    /// If it is damaged.
    pub(super) fn censored(journal: &[u8], censor: &dyn Censor) -> Result<Self, HostFault> {
        let mut read: HashMap<u32, Vec<Bytes>> = HashMap::new();
        for entry in journal::entries(journal)? {
            let Entry { header, answer: Some(answer), .. } = entry? else { continue };
            let Header { kind: Kind::ReadBody, exchange, .. } = header else { continue };
            let answer = postcard::from_bytes(answer).map_err(|_| journal::damaged())?;
            if let StreamAnswer::Done(Blob(piece)) = answer {
                read.entry(exchange).or_default().push(piece);
            }
        }
        Ok(Self(read.into_iter().map(|(exchange, pieces)| (exchange, censored(pieces, censor))).collect()))
    }

    /// The next piece of the body of the response to this request.
    pub(super) fn next(&mut self, exchange: u32) -> Option<Bytes> {
        self.0.get_mut(&exchange)?.pop_front()
    }
}

fn censored(pieces: Vec<Bytes>, censor: &dyn Censor) -> VecDeque<Bytes> {
    let whole = pieces.concat();
    let places = censor.places(&whole);
    if places.is_empty() {
        return pieces.into();
    }
    let mut end = 0;
    let piece = |piece: &Bytes| {
        let start = end;
        end += piece.len();
        let mut left = Vec::with_capacity(piece.len());
        let mut at = start;
        let first = places.partition_point(|place| place.end <= start);
        for place in places[first..].iter().take_while(|place| place.start < end) {
            let hidden = place.start.max(start)..place.end.min(end);
            left.extend_from_slice(&whole[at..hidden.start]);
            at = hidden.end;
            left.extend_from_slice(stands_for(place, hidden));
        }
        left.extend_from_slice(&whole[at..end]);
        Bytes::from(left)
    };
    pieces.iter().map(piece).collect()
}

/// What stands for a part of a secret.
fn stands_for(secret: &Range<usize>, part: Range<usize>) -> &'static [u8] {
    let to = if part.end == secret.end { REDACTED.len() } else { (part.end - secret.start).min(REDACTED.len()) };
    &REDACTED.as_bytes()[(part.start - secret.start).min(REDACTED.len())..to]
}
