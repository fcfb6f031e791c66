//! Functions that the server calls around a run.

use serde::de::DeserializeOwned;

use super::Task;
use crate::bindings::dacapo::task::types::Entry;
use crate::runs::RunFailure;
use crate::{Context, Result, payload};

/// The same for all payloads and outputs.
type Hook = Box<dyn Fn(&Context, &str, Outcome<'_>) -> Result<()>>;

/// The run's output, as JSON, or why there is none. Hooks that are told no outcome get `null`.
pub(super) type Outcome<'a> = std::result::Result<&'a str, &'a RunFailure>;

/// The moments at which a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Start,
    Success,
    Failure,
    Cancel,
    Complete,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "on-start",
            Self::Success => "on-success",
            Self::Failure => "on-failure",
            Self::Cancel => "on-cancel",
            Self::Complete => "on-complete",
        }
    }
}

/// The hooks of a task, one for each moment at most.
#[derive(Default)]
pub(super) struct Hooks(Vec<(Moment, Hook)>);

impl Hooks {
    fn add(&mut self, moment: Moment, hook: Hook) {
        self.0.retain(|(other, _)| *other != moment);
        self.0.push((moment, hook));
    }

    /// What the task's definition says of them.
    pub(super) fn entry(&self) -> Option<Entry> {
        let names: Vec<&str> = self.0.iter().map(|(moment, _)| moment.name()).collect();
        (!names.is_empty()).then(|| Entry { name: "hooks".into(), value: serde_json::json!(names).to_string() })
    }

    pub(super) fn call(&self, moment: Moment, context: &Context, payload: &str, outcome: Outcome<'_>) -> Result<()> {
        match self.0.iter().find(|(other, _)| *other == moment) {
            Some((_, hook)) => hook(context, payload, outcome),
            None => Ok(()),
        }
    }
}

/// # Hooks
///
/// The server calls them around a run, each in a fresh instance. Those of the end are called for
/// **every** end, also of a run that never started (canceled while queued, expired) or that was
/// stopped (timed out, crashed), and at least once: after a crash of the server perhaps again. What a
/// hook returns cannot change what became of the run; an error is logged.
///
/// A hook that cannot read the payload or the output as the type that it asks for fails, which
/// happens to runs that failed because their payload did not fit. One that must not miss them asks for
/// a `serde_json::Value`.
///
/// ```
/// use dacapo::prelude::*;
///
/// fn greet(_: &Context, name: String) -> Result<String> {
///     Ok(format!("Hello, {name}!"))
/// }
///
/// dacapo::tasks![
///     task("greet", greet)
///         .on_success(|_, name: String, greeting: String| {
///             info!(name = name; "said {greeting}");
///             Ok(())
///         })
///         .on_failure(|ctx, _: Value, failure| {
///             let alert = json!({ "run": ctx.run.id, "error": failure.message });
///             http::post("https://chat.example/alerts").json(alert).send()?.error_for_status()?;
///             Ok(())
///         }),
/// ];
/// ```
impl Task {
    /// Called before the first attempt of a run.
    pub fn on_start<P: DeserializeOwned>(self, hook: impl Fn(&Context, P) -> Result<()> + 'static) -> Self {
        self.hook(Moment::Start, move |context, text, _| hook(context, payload::read(text)?))
    }

    /// Called after a run completed, with its output.
    pub fn on_success<P: DeserializeOwned, O: DeserializeOwned>(
        self,
        hook: impl Fn(&Context, P, O) -> Result<()> + 'static,
    ) -> Self {
        self.hook(Moment::Success, move |context, text, outcome| match outcome {
            Ok(output) => hook(context, payload::read(text)?, serde_json::from_str(output)?),
            Err(_) => Ok(()),
        })
    }

    /// Called after a run ended otherwise, unless it was canceled.
    pub fn on_failure<P: DeserializeOwned>(
        self,
        hook: impl Fn(&Context, P, &RunFailure) -> Result<()> + 'static,
    ) -> Self {
        self.hook(Moment::Failure, move |context, text, outcome| match outcome {
            Ok(_) => Ok(()),
            Err(failure) => hook(context, payload::read(text)?, failure),
        })
    }

    /// Called after a run was canceled.
    pub fn on_cancel<P: DeserializeOwned>(self, hook: impl Fn(&Context, P) -> Result<()> + 'static) -> Self {
        self.hook(Moment::Cancel, move |context, text, _| hook(context, payload::read(text)?))
    }

    /// Called after every end, and after the other hook of that end, with the output or why there is
    /// none.
    pub fn on_complete<P: DeserializeOwned, O: DeserializeOwned>(
        self,
        hook: impl Fn(&Context, P, std::result::Result<O, &RunFailure>) -> Result<()> + 'static,
    ) -> Self {
        self.hook(Moment::Complete, move |context, text, outcome| {
            let outcome = match outcome {
                Ok(output) => Ok(serde_json::from_str(output)?),
                Err(failure) => Err(failure),
            };
            hook(context, payload::read(text)?, outcome)
        })
    }

    fn hook(mut self, moment: Moment, hook: impl Fn(&Context, &str, Outcome<'_>) -> Result<()> + 'static) -> Self {
        self.hooks.add(moment, Box::new(hook));
        self
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::runs::FailedStatus;
    use crate::{TaskError, task};

    /// A task all of whose hooks write down what they are told.
    fn told() -> (Task, Rc<RefCell<Vec<String>>>) {
        let told = Rc::new(RefCell::new(Vec::new()));
        let tell = |moment: &'static str| {
            let told = Rc::clone(&told);
            move |what: String| -> Result<()> {
                told.borrow_mut().push(format!("{moment}: {what}"));
                Ok(())
            }
        };
        let (start, success, failure) = (tell("start"), tell("success"), tell("failure"));
        let (cancel, complete) = (tell("cancel"), tell("complete"));
        let task = task("x", |_, (): ()| Ok(()))
            .on_start(move |_, payload: u8| start(format!("{payload}")))
            .on_success(move |_, payload: u8, output: String| success(format!("{payload} {output}")))
            .on_failure(move |_, payload: u8, why| failure(format!("{payload} {why}")))
            .on_cancel(move |_, payload: u8| cancel(format!("{payload}")))
            .on_complete(move |_, payload: u8, outcome: std::result::Result<String, _>| {
                complete(format!("{payload} {outcome:?}"))
            });
        (task, told)
    }

    #[test]
    fn each_hook_is_told_what_it_asks_for() {
        let (task, told) = told();
        let failure = RunFailure::new(FailedStatus::Expired, "Expired", "too late");
        let call = |moment, outcome| {
            task.hooks.call(moment, &Context::default(), "7", outcome).expect("the hook succeeds");
        };

        call(Moment::Start, Ok("null"));
        call(Moment::Success, Ok("\"done\""));
        call(Moment::Complete, Ok("\"done\""));
        call(Moment::Failure, Err(&failure));
        call(Moment::Cancel, Ok("null"));

        let expected = ["start: 7", "success: 7 done", "complete: 7 Ok(\"done\")"];
        assert_eq!(told.borrow()[..3], expected);
        assert_eq!(told.borrow()[3..], ["failure: 7 expired: Expired: too late", "cancel: 7"]);
    }

    #[test]
    fn a_definition_names_the_hooks_of_its_task() {
        let entry = told().0.hooks.entry().expect("it has hooks");
        assert_eq!(entry.name, "hooks");
        assert_eq!(entry.value, r#"["on-start","on-success","on-failure","on-cancel","on-complete"]"#);
        assert!(task("x", |_, (): ()| Ok(())).hooks.entry().is_none());
    }

    #[test]
    fn a_payload_that_does_not_fit_fails_the_hook() {
        let task = task("x", |_, (): ()| Ok(())).on_start(|_, _: u8| Ok(()));
        let called = task.hooks.call(Moment::Start, &Context::default(), "\"x\"", Ok("null"));
        assert_eq!(called.map_err(|error: TaskError| error.name), Err("InvalidPayload".into()));
        assert_eq!(task.hooks.call(Moment::Cancel, &Context::default(), "\"x\"", Ok("null")), Ok(()));
    }
}
