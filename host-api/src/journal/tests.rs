use super::*;

/// What a guest of these tests asks, with its answer while nothing is on record.
#[derive(Clone, Copy)]
enum Call {
    Random(u64),
    Http(&'static str, &'static str),
    Unit,
}

fn ask(journal: &Journal, call: Call) -> wasmtime::Result<String> {
    match call {
        Call::Random(live) => Ok(journal.ask_now(|| Question::new(Kind::RandomNumber), || Ok(live))?.to_string()),
        Call::Http(url, live) => {
            let question = || Question::new(Kind::Http).text(format!("GET {url}")).about(&url.len());
            let Blob(body) = journal.ask_now(question, || Ok(Blob(live.into())))?;
            Ok(String::from_utf8(body.into()).expect("a text"))
        }
        Call::Unit => Ok(format!("{:?}", journal.ask_now(|| Question::new(Kind::FlushBody), || Ok(()))?)),
    }
}

/// The segment that is not yet kept, which is kept now.
fn cut(journal: &Journal) -> Vec<u8> {
    let Unwritten { segment, up_to } = journal.unwritten().expect("something was recorded");
    journal.written(up_to);
    segment
}

/// The segments of two calls, and of a wait that nobody answered.
fn record() -> Vec<Vec<u8>> {
    let journal = Journal::recording(1_000);
    assert!(journal.unwritten().is_none());
    ask(&journal, Call::Random(7)).expect("an answer");
    let first = cut(&journal);
    assert!(journal.unwritten().is_none());
    ask(&journal, Call::Http("https://a/b", "hello")).expect("an answer");
    ask(&journal, Call::Unit).expect("an answer");
    let wait: Option<u64> = journal.past(|| Question::new(Kind::WaitAll).text("3")).expect("a journal");
    assert_eq!(wait, None);
    vec![first, cut(&journal)]
}

#[track_caller]
fn check_refused(journal: &Journal, call: Call, expected: &str) {
    let error = ask(journal, call).expect_err("another question");
    assert_eq!(error.downcast_ref::<NonDeterministic>().expect("this error").to_string(), expected);
}

#[track_caller]
fn check_damaged<T: fmt::Debug>(answer: wasmtime::Result<T>) {
    assert!(answer.expect_err("a damaged journal").is::<HostFault>());
}

#[test]
fn answers_come_back_in_their_order() {
    let segments = record();
    let journal = Journal::resuming(segments.clone(), 1_000);
    assert!(journal.is_resuming() && journal.is_complete());
    assert_eq!(ask(&journal, Call::Random(0)).expect("an answer"), "7");
    assert_eq!(ask(&journal, Call::Http("https://a/b", "no")).expect("an answer"), "hello");
    assert_eq!(ask(&journal, Call::Unit).expect("an answer"), "()");
    assert!(journal.is_resuming(), "the wait has not been asked for");
    assert!(journal.unwritten().is_none());

    let wait = journal.ask_now(|| Question::new(Kind::WaitAll).text("3"), || Ok(5_u64));
    assert_eq!(wait.expect("an answer"), 5);
    assert!(!journal.is_resuming());
    assert_eq!(ask(&journal, Call::Random(8)).expect("an answer"), "8");

    // The answer to the open question and what came after it are one more segment.
    let all = Journal::resuming([segments, vec![cut(&journal)]].concat(), 1_000);
    for call in [Call::Random(0), Call::Http("https://a/b", ""), Call::Unit] {
        ask(&all, call).expect("an answer");
    }
    let wait = all.ask_now(|| Question::new(Kind::WaitAll).text("3"), || Ok(0_u64));
    assert_eq!(wait.expect("an answer"), 5);
    assert_eq!(ask(&all, Call::Random(0)).expect("an answer"), "8");
    assert!(all.is_resuming());
    assert_eq!(ask(&all, Call::Random(9)).expect("an answer"), "9");
    assert!(!all.is_resuming());
}

#[test]
fn another_question_stops_the_task() {
    let resumed = || {
        let journal = Journal::resuming(record(), 1_000);
        ask(&journal, Call::Random(0)).expect("an answer");
        journal
    };
    let prefix = "the task is not deterministic: as call";
    let other =
        format!("{prefix} 2 the journal has `http GET https://a/b`, but this time it was `random.get-random-u64`");
    check_refused(&resumed(), Call::Random(0), &other);
    let details = Journal::resuming(vec![record().concat()], 1_000);
    ask(&details, Call::Random(0)).expect("an answer");
    let question = || Question::new(Kind::Http).text("GET https://a/b").about("another length");
    let error = details.ask_now(question, || Ok(Blob(Vec::new().into()))).expect_err("another question");
    let same = format!("{prefix} 2 the journal has `http GET https://a/b`, but this time with other details");
    assert_eq!(error.to_string(), same);

    let journal = resumed();
    let end = format!("{prefix} 2 the journal has `http GET https://a/b`, but this time the task ended");
    assert_eq!(journal.ended().expect_err("more").to_string(), end);
    ask(&journal, Call::Http("https://a/b", "")).expect("an answer");
    ask(&journal, Call::Unit).expect("an answer");
    let wait = format!("{prefix} 4 the journal has `wait.all(3)`, but this time the task ended");
    assert_eq!(journal.ended().expect_err("more").to_string(), wait);
    let wait = format!("{prefix} 4 the journal has `wait.all(3)`, but this time it was `random.get-random-u64`");
    check_refused(&journal, Call::Random(0), &wait);
}

#[test]
fn a_task_that_goes_on_as_before_may_end() {
    let journal = Journal::recording(1_000);
    ask(&journal, Call::Random(7)).expect("an answer");
    journal.ended().expect("nothing is left of a journal that is made");
    let journal = Journal::resuming(vec![cut(&journal)], 1_000);
    ask(&journal, Call::Random(0)).expect("an answer");
    journal.ended().expect("nothing is left");
    Journal::off().ended().expect("nothing was recorded");
}

#[test]
fn what_passes_the_limit_is_not_on_record() {
    let journal = Journal::recording(60);
    ask(&journal, Call::Http("https://a/b", "hello")).expect("an answer");
    assert!(journal.is_complete());
    ask(&journal, Call::Http("https://a/b", "hello, and more than there is room for")).expect("an answer");
    assert!(!journal.is_complete());
    assert_eq!(journal.unwritten(), None);
    ask(&journal, Call::Random(1)).expect("an answer");
    assert_eq!(journal.unwritten(), None, "it does not begin again");

    // What was kept before counts as well.
    let segments = record();
    let journal = Journal::resuming(segments.clone(), segments.concat().len() + 1);
    assert!(journal.is_complete());
    for call in [Call::Random(0), Call::Http("https://a/b", ""), Call::Unit] {
        ask(&journal, call).expect("an answer");
    }
    let _: Option<u64> = journal.past(|| Question::new(Kind::WaitAll).text("3")).expect("a journal");
    journal.keep(&5_u64);
    assert!(!journal.is_complete());
}

#[test]
fn off_means_that_nothing_is_kept() {
    let journal = Journal::off();
    assert_eq!(ask(&journal, Call::Random(7)).expect("an answer"), "7");
    assert_eq!(ask(&journal, Call::Random(8)).expect("an answer"), "8");
    assert!(!journal.is_complete() && !journal.is_resuming());
    assert_eq!(journal.unwritten(), None);
}

#[test]
fn a_damaged_journal_is_a_fault_of_the_host() {
    let whole = record().concat();
    check_damaged(ask(&Journal::resuming(vec![vec![9, 9, 9]], 1_000), Call::Random(0)));
    check_damaged(Journal::resuming(vec![vec![9, 9, 9]], 1_000).ended());
    check_damaged(ask(&Journal::resuming(vec![vec![FORMAT, 0xFF, 0xFF]], 1_000), Call::Random(0)));

    // One of an earlier version is named as such.
    let old = [&[FORMAT - 1], &whole[1..]].concat();
    let told = "the journal of the attempt has the format 1, and this version of the server reads format 2 only";
    let error = ask(&Journal::resuming(vec![old.clone()], 1_000), Call::Random(0)).expect_err("another format");
    assert_eq!(error.to_string(), told);
    assert_eq!(crate::recording::Recording::read(&old).expect_err("another format").to_string(), told);

    // Wherever it is cut or changed, nothing panics.
    let replay = |bytes: Vec<u8>| {
        let journal = Journal::resuming(vec![bytes], 1_000);
        for call in [Call::Random(0), Call::Http("https://a/b", ""), Call::Unit, Call::Unit] {
            if let Err(error) = ask(&journal, call) {
                assert!(error.is::<HostFault>() || error.is::<NonDeterministic>(), "{error:#}");
                return;
            }
        }
        let _ = journal.ended();
    };
    for place in 0..whole.len() {
        replay(whole[..place].to_vec());
        let mut changed = whole.clone();
        changed[place] ^= 0x55;
        replay(changed);
    }
}

#[test]
fn a_journal_shows_no_answers() {
    let journal = Journal::recording(1_000);
    ask(&journal, Call::Http("https://a/b", "secret")).expect("an answer");
    let unwritten = journal.unwritten();
    assert!(!format!("{journal:?} {unwritten:?}").contains("secret"));
}
