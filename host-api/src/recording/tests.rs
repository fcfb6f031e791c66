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

#[test]
fn calls_have_their_times_and_those_of_requests_come_from_their_parts() {
    let journal = Journal::recording(10_000);
    let refused: Result<(), String> = Err("no".into());
    let _ = journal.ask_now(|| Question::new(Kind::AddTags).text("self"), || Ok(refused)).expect("an answer");
    let http = || Question::new(Kind::Http).exchange(1).text("GET http://a").found_by(1, "GET http://a/b\nx: y");
    journal.ask_now(http, || Ok(())).expect("an answer");
    let body = || Question::new(Kind::FinishBody).exchange(1).found_by(1, "7");
    journal.ask_now(body, || Ok(())).expect("an answer");
    for read in [StreamAnswer::Done(Blob(Bytes::from_static(b"hello"))), StreamAnswer::Failed("lost".into())] {
        let _ = journal.ask_now(|| Question::new(Kind::ReadBody).exchange(1), || Ok(read)).expect("an answer");
    }
    let segment = journal.unwritten().expect("something was recorded").segment;

    for journal in [segment.clone(), redacted(&segment, &Hides).expect("a journal")] {
        let recording = Recording::read(&journal).expect("a journal");
        let (calls, is_cut) = recording.calls_seen(10).expect("a journal");
        assert!(!is_cut && calls.iter().all(|call| call.asked_us.is_some() && call.answered_us >= call.asked_us));
        let [tags, http] = calls.as_slice() else { panic!("{calls:?}") };
        assert_eq!((tags.error.as_deref(), tags.number, http.number), (Some("no"), 1, 2));
        let seen = http.http.as_ref().expect("a request");
        assert_eq!((seen.url.as_str(), seen.host.as_str(), http.arguments.as_str()), ("http://a/b", "a", "x: y"));
        assert_eq!((seen.status, seen.request_bytes, seen.response_bytes), (None, Some(7), 5));
        assert_eq!(http.error.as_deref(), Some("the body broke off: lost"));
        assert_eq!(recording.calls_seen(1).map(|(calls, is_cut)| (calls.len(), is_cut)), Ok((1, true)));
    }
}
