use std::ops::Range;

use super::*;
use crate::http::REDACTED;
use crate::journal::{Journal, Question};
use crate::world::{RunHandle, TriggerError};

const SECRET: &str = "open-sesame-7431";

struct Hides;

impl Censor for Hides {
    fn censored(&self, text: &str) -> Option<String> {
        text.contains(SECRET).then(|| text.replace(SECRET, REDACTED))
    }

    fn places(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let windows = bytes.windows(SECRET.len()).enumerate();
        windows.filter(|(_, window)| *window == SECRET.as_bytes()).map(|(at, _)| at..at + SECRET.len()).collect()
    }
}

/// The calls of a journal without what [`Hides`] knows.
fn redacted_calls(journal: &Journal) -> Vec<Call> {
    let journal = journal.unwritten().expect("something was recorded").segment;
    Recording::read(&redacted(&journal, &Hides).expect("a journal")).expect("a journal").calls
}

#[test]
fn a_secret_is_left_out_of_a_body_however_it_was_read() {
    let bytes = [b"\xFFkey: ", SECRET.as_bytes(), b", and no more"].concat();
    for length in [1, 3, 7, 12, 100] {
        let journal = Journal::recording(10_000);
        for (place, piece) in bytes.chunks(length).enumerate() {
            // Two bodies in turn.
            for exchange in [1, 2] {
                let read = StreamAnswer::Done(Blob(Bytes::copy_from_slice(piece)));
                let question = || Question::new(Kind::ReadBody).exchange(exchange).about(&place);
                let _ = journal.ask_now(question, || Ok(read)).expect("an answer");
            }
        }
        let responses = Recording { context: None, calls: redacted_calls(&journal) }.responses().expect("a journal");
        for exchange in [1, 2] {
            let pieces = &responses[&exchange].body;
            assert!(pieces.iter().all(|piece| piece.len() <= length), "{length}: {pieces:?}");
            assert_eq!(pieces.concat(), b"\xFFkey: [redacted], and no more", "{length}");
        }
    }
}

#[test]
fn a_secret_is_left_out_of_a_refusal() {
    let journal = Journal::recording(10_000);
    let refused: Result<RunHandle, _> = Err(TriggerError::PayloadRejected(vec![format!("no {SECRET}")]));
    let _ = journal.ask_now(|| Question::new(Kind::Trigger), || Ok(refused)).expect("an answer");
    let answer = redacted_calls(&journal)[0].answer::<Result<RunHandle, TriggerError>>().expect("an answer");
    let Some(Err(TriggerError::PayloadRejected(problems))) = answer else { panic!("{answer:?}") };
    assert_eq!(problems, ["no [redacted]"]);
}
