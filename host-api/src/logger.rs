//! The one log that everything of an attempt is written to.
//!
//! [`Logger`] bounds lines and bytes, keeps the stack of open spans, and cuts standard output into
//! lines. What passes the bounds is dropped and counted; the last line says how much. While the
//! attempt is being brought back, what was said before is counted again, and not said again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::Limits;
use crate::journal::Journal;
use crate::services::{Level, LogEntry, LogSource, Services, SpanClosed, SpanId, SpanOpened};

/// Most lines of standard error that are kept to explain a crash.
const TAIL_LINES: usize = 8;
/// Most bytes of each of them.
const TAIL_LINE_BYTES: usize = 1_024;

/// A handle on the log of one attempt. Once the attempt has ended, writing does nothing.
#[derive(Clone)]
pub struct Logger(Arc<Mutex<Book>>);

struct Book {
    services: Option<Box<dyn Services>>,
    journal: Journal,
    limits: Limits,
    lines: usize,
    bytes: usize,
    dropped: u64,
    finished: bool,
    last_span: u32,
    open: Vec<OpenSpan>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    tail: VecDeque<String>,
}

struct OpenSpan {
    id: SpanId,
    parent: Option<SpanId>,
    name: String,
    attributes: Vec<(String, String)>,
    error: Option<String>,
    at: SystemTime,
}

impl Logger {
    pub(crate) fn new(services: Box<dyn Services>, limits: Limits, journal: Journal) -> Self {
        Self(Arc::new(Mutex::new(Book {
            services: Some(services),
            journal,
            limits,
            lines: 0,
            bytes: 0,
            dropped: 0,
            finished: false,
            last_span: 0,
            open: Vec::new(),
            stdout: Vec::new(),
            stderr: Vec::new(),
            tail: VecDeque::new(),
        })))
    }

    /// Writes a line in the host's own name, for the author of the task.
    pub fn host(&self, level: Level, message: impl Into<String>) {
        self.book().write(level, message.into(), Vec::new(), LogSource::Host);
    }

    /// Ends the log: writes unfinished lines, closes open spans, says what was dropped. Further
    /// writing does nothing.
    pub fn finish(&self) {
        self.book().finish();
    }

    /// Takes the services back out. Ends the log, if that has not happened yet.
    pub fn into_services(self) -> Option<Box<dyn Services>> {
        let mut book = self.book();
        book.finish();
        book.services.take()
    }

    /// The last lines of standard error, an unfinished one included.
    pub fn stderr_tail(&self) -> Vec<String> {
        let mut book = self.book();
        book.flush(LogSource::Stderr);
        book.tail.iter().cloned().collect()
    }

    pub(crate) fn services<R>(&self, call: impl FnOnce(&mut dyn Services) -> R) -> Option<R> {
        let mut book = self.book();
        let services = book.services.as_mut()?;
        Some(call(services.as_mut()))
    }

    pub(crate) fn write(&self, level: Level, message: String, attributes: Vec<(String, String)>) {
        self.book().write(level, message, attributes, LogSource::Logger);
    }

    /// Opens a span that began at this time; `None` if the log is full.
    pub(crate) fn open_span(&self, name: String, attributes: Vec<(String, String)>, at: SystemTime) -> Option<SpanId> {
        self.book().open_span(name, attributes, at)
    }

    pub(crate) fn set_attribute(&self, span: SpanId, name: String, value: String) {
        self.book().set_attribute(span, name, value);
    }

    pub(crate) fn fail_span(&self, span: SpanId, message: &str) {
        self.book().fail_span(span, message);
    }

    pub(crate) fn close_span(&self, span: SpanId) {
        self.book().close_span(span);
    }

    pub(crate) fn write_bytes(&self, source: LogSource, bytes: &[u8]) {
        self.book().write_bytes(source, bytes);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic of the services ends the attempt; the book itself is never left half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Whether there is room for another line of this size; if not, counts it as dropped.
    fn admit(&mut self, bytes: usize) -> bool {
        if self.finished {
            return false;
        }
        if self.lines >= self.limits.log_lines || self.bytes + bytes > self.limits.log_bytes {
            self.dropped += 1;
            return false;
        }
        self.lines += 1;
        self.bytes += bytes;
        true
    }

    fn write(&mut self, level: Level, mut message: String, mut attributes: Vec<(String, String)>, source: LogSource) {
        let bytes = fit(&mut message, &mut attributes, self.limits.log_line_bytes);
        if !self.admit(bytes) {
            return;
        }
        self.emit(level, message, attributes, source);
    }

    /// Who takes what is said, unless it has been said before.
    fn listener(&mut self) -> Option<&mut Box<dyn Services>> {
        if self.journal.is_resuming() { None } else { self.services.as_mut() }
    }

    fn emit(&mut self, level: Level, message: String, attributes: Vec<(String, String)>, source: LogSource) {
        let span = self.open.last().map(|span| span.id);
        if let Some(services) = self.listener() {
            services.log(LogEntry { at: now(), level, message, attributes, span, source });
        }
    }

    fn write_bytes(&mut self, source: LogSource, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend_line(source, &bytes[..end]);
            self.end_line(source);
            bytes = &bytes[end + 1..];
        }
        self.extend_line(source, bytes);
    }

    fn line(&mut self, source: LogSource) -> &mut Vec<u8> {
        match source {
            LogSource::Stderr => &mut self.stderr,
            LogSource::Stdout | LogSource::Logger | LogSource::Host => &mut self.stdout,
        }
    }

    fn extend_line(&mut self, source: LogSource, bytes: &[u8]) {
        let limit = self.limits.log_line_bytes;
        let line = self.line(source);
        let room = limit.saturating_sub(line.len()).min(bytes.len());
        line.extend_from_slice(&bytes[..room]);
    }

    fn end_line(&mut self, source: LogSource) {
        let line = std::mem::take(self.line(source));
        let mut line = match String::from_utf8(line) {
            Ok(line) => line,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        if line.ends_with('\r') {
            line.pop();
        }
        let level = if source == LogSource::Stderr { Level::Warn } else { Level::Info };
        if source == LogSource::Stderr {
            if self.tail.len() == TAIL_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(cut(&line, TAIL_LINE_BYTES).into());
        }
        self.write(level, line, Vec::new(), source);
    }

    fn flush(&mut self, source: LogSource) {
        if !self.line(source).is_empty() {
            self.end_line(source);
        }
    }

    fn open_span(&mut self, mut name: String, mut attributes: Vec<(String, String)>, at: SystemTime) -> Option<SpanId> {
        let bytes = fit(&mut name, &mut attributes, self.limits.log_line_bytes);
        if !self.admit(bytes) {
            return None;
        }
        self.last_span += 1;
        let (id, parent) = (SpanId(self.last_span), self.open.last().map(|span| span.id));
        if let Some(services) = self.listener() {
            services.span_opened(SpanOpened { id, parent, name: name.clone(), attributes: attributes.clone(), at });
        }
        self.open.push(OpenSpan { id, parent, name, attributes, error: None, at });
        Some(id)
    }

    fn span(&mut self, id: SpanId) -> Option<&mut OpenSpan> {
        self.open.iter_mut().rfind(|span| span.id == id)
    }

    fn set_attribute(&mut self, id: SpanId, name: String, value: String) {
        let bytes = name.len() + value.len();
        if bytes > self.limits.log_line_bytes || self.bytes + bytes > self.limits.log_bytes {
            self.dropped += 1;
            return;
        }
        self.bytes += bytes;
        let Some(span) = self.span(id) else { return };
        match span.attributes.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => span.attributes.push((name, value)),
        }
    }

    fn fail_span(&mut self, id: SpanId, message: &str) {
        let message = cut(message, self.limits.log_line_bytes);
        if self.bytes + message.len() > self.limits.log_bytes {
            self.dropped += 1;
            return;
        }
        self.bytes += message.len();
        let message = message.to_owned();
        if let Some(span) = self.span(id) {
            span.error = Some(message);
        }
    }

    fn close_span(&mut self, id: SpanId) {
        let Some(place) = self.open.iter().rposition(|span| span.id == id) else {
            return;
        };
        let span = self.open.remove(place);
        let OpenSpan { id, parent, name, attributes, error, at } = span;
        let duration = now().duration_since(at).unwrap_or_default();
        if let Some(services) = self.listener() {
            services.span_closed(SpanClosed { id, parent, name, attributes, error, at, duration });
        }
    }

    fn finish(&mut self) {
        if self.finished {
            return;
        }
        self.flush(LogSource::Stdout);
        self.flush(LogSource::Stderr);
        while let Some(id) = self.open.last().map(|span| span.id) {
            self.close_span(id);
        }
        if self.dropped > 0 {
            let message = format!(
                "the log is full: {} more lines, spans or attributes were dropped (limits: {} lines, {} bytes)",
                self.dropped, self.limits.log_lines, self.limits.log_bytes
            );
            self.emit(Level::Warn, message, Vec::new(), LogSource::Host);
        }
        self.finished = true;
    }
}

/// Makes a line fit: cuts its text, then leaves out the attributes for which no room is left,
/// because a JSON text cannot be cut. Returns the bytes it takes.
fn fit(text: &mut String, attributes: &mut Vec<(String, String)>, limit: usize) -> usize {
    let end = cut(text, limit).len();
    text.truncate(end);
    let mut bytes = text.len();
    attributes.retain(|(name, value)| {
        let fits = bytes + name.len() + value.len() <= limit;
        if fits {
            bytes += name.len() + value.len();
        }
        fits
    });
    bytes
}

#[expect(clippy::disallowed_methods, reason = "a line of the log is written when the guest writes it")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// The longest beginning of `text` that has at most `limit` bytes and whole characters.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
pub(crate) mod tests;
