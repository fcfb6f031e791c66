//! `dacapo:task/log`: lines and spans, written to the attempt's [`crate::Logger`].

use std::time::SystemTime;

use wasmtime::component::Resource;

use crate::TaskCtx;
use crate::generated::dacapo::task::log::{Host, HostSpan, Level as GuestLevel};
use crate::generated::dacapo::task::types::Entry;
use crate::journal::{Kind, Question};
use crate::services::{Level, SpanId};

/// A guest's handle on a span; `None`: the log was full.
pub struct Span(Option<SpanId>);

impl Host for TaskCtx {
    fn write(&mut self, level: GuestLevel, message: String, attributes: Vec<Entry>) -> wasmtime::Result<()> {
        self.logger.write(level.into(), message, pairs(attributes));
        Ok(())
    }
}

impl HostSpan for TaskCtx {
    #[expect(clippy::disallowed_methods, reason = "a span begins when the guest says so")]
    fn new(&mut self, name: String, attributes: Vec<Entry>) -> wasmtime::Result<Resource<Span>> {
        // A span that is still open when the attempt is brought back is as long as it was in all.
        let live = || Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let since_1970 = self.journal.ask_now(|| Question::new(Kind::Span), live)?;
        let id = self.logger.open_span(name, pairs(attributes), SystemTime::UNIX_EPOCH + since_1970);
        Ok(self.table.push(Span(id))?)
    }

    fn set_attribute(&mut self, span: Resource<Span>, name: String, value: String) -> wasmtime::Result<()> {
        if let Span(Some(id)) = *self.table.get(&span)? {
            self.logger.set_attribute(id, name, value);
        }
        Ok(())
    }

    fn fail(&mut self, span: Resource<Span>, message: String) -> wasmtime::Result<()> {
        if let Span(Some(id)) = *self.table.get(&span)? {
            self.logger.fail_span(id, &message);
        }
        Ok(())
    }

    fn drop(&mut self, span: Resource<Span>) -> wasmtime::Result<()> {
        if let Span(Some(id)) = self.table.delete(span)? {
            self.logger.close_span(id);
        }
        Ok(())
    }
}

fn pairs(entries: Vec<Entry>) -> Vec<(String, String)> {
    entries.into_iter().map(|entry| (entry.name, entry.value)).collect()
}

impl From<GuestLevel> for Level {
    fn from(level: GuestLevel) -> Self {
        match level {
            GuestLevel::Trace => Self::Trace,
            GuestLevel::Debug => Self::Debug,
            GuestLevel::Info => Self::Info,
            GuestLevel::Warn => Self::Warn,
            GuestLevel::Error => Self::Error,
        }
    }
}
