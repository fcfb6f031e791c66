use super::*;
use crate::services::{MetadataChange, MetadataError};

pub(crate) type Written = Arc<Mutex<Vec<String>>>;

struct Recorder(Written);

impl Services for Recorder {
    fn log(&mut self, entry: LogEntry) {
        let span = entry.span.map_or(String::new(), |SpanId(id)| format!("[{id}] "));
        self.0.lock().expect("a lock").push(format!("{span}{:?} {}", entry.level, entry.message));
    }
    fn span_opened(&mut self, span: SpanOpened) {
        self.0.lock().expect("a lock").push(format!("open {} in {:?}", span.id.0, span.parent.map(|id| id.0)));
    }
    fn span_closed(&mut self, span: SpanClosed) {
        self.0.lock().expect("a lock").push(format!("close {} {:?}", span.id.0, span.error));
    }
    fn metadata(&mut self) -> String {
        "{}".into()
    }
    fn metadata_value(&mut self, _: &str) -> Option<String> {
        None
    }
    fn change_metadata(&mut self, _: MetadataChange) -> Result<(), MetadataError> {
        Ok(())
    }
}

pub(crate) fn logger(log_lines: usize, log_line_bytes: usize) -> (Logger, Written) {
    let written = Written::default();
    let limits = Limits { scratch_bytes: 0, log_lines, log_bytes: 1_000, log_line_bytes, metadata_bytes: 0 };
    (Logger::new(Box::new(Recorder(Arc::clone(&written))), limits, Journal::off()), written)
}

#[track_caller]
fn check(written: &Written, expected: &[&str]) {
    assert_eq!(*written.lock().expect("a lock"), expected);
}

#[test]
fn output_becomes_lines_whatever_its_pieces() {
    let (logger, written) = logger(100, 100);
    logger.write_bytes(LogSource::Stdout, b"one\ntw");
    logger.write_bytes(LogSource::Stderr, b"err\r\n");
    logger.write_bytes(LogSource::Stdout, b"o\n\n\xff!");
    logger.finish();
    check(&written, &["Info one", "Warn err", "Info two", "Info ", "Info \u{fffd}!"]);
    assert_eq!(logger.stderr_tail(), ["err"]);
}

#[test]
fn long_lines_are_cut_between_characters() {
    let (logger, written) = logger(100, 4);
    logger.write_bytes(LogSource::Stdout, b"123456789\nab\n");
    logger.host(Level::Info, "äöü");
    check(&written, &["Info 1234", "Info ab", "Info äö"]);
}

#[test]
fn what_passes_the_budget_is_counted() {
    let (logger, written) = logger(2, 100);
    for n in 0..5 {
        logger.host(Level::Debug, n.to_string());
    }
    logger.finish();
    logger.host(Level::Debug, "late");
    let full = "Warn the log is full: 3 more lines, spans or attributes were dropped (limits: 2 lines, 1000 bytes)";
    check(&written, &["Debug 0", "Debug 1", full]);
}

#[test]
fn lines_carry_the_innermost_span() {
    let (logger, written) = logger(100, 100);
    let outer = logger.open_span("outer".into(), Vec::new(), now()).expect("room");
    let inner = logger.open_span("inner".into(), Vec::new(), now()).expect("room");
    logger.host(Level::Info, "a");
    logger.fail_span(inner, "no");
    logger.close_span(inner);
    logger.host(Level::Info, "b");
    logger.finish();
    assert_eq!(outer, SpanId(1));
    check(
        &written,
        &["open 1 in None", "open 2 in Some(1)", "[2] Info a", "close 2 Some(\"no\")", "[1] Info b", "close 1 None"],
    );
}
