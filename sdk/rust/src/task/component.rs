//! What a component exports, made of its tasks.

use super::hooks::{Moment, Outcome};
use super::{Task, describe, run};
use crate::bindings::dacapo::task::context::Context;
use crate::bindings::dacapo::task::wait::RunError;
use crate::bindings::exports::dacapo::task::{guest, hooks};
use crate::context::begin;
use crate::runs::RunFailure;

/// A component, as [`tasks!`](crate::tasks) declares it.
#[doc(hidden)]
pub trait Component {
    fn tasks() -> Vec<Task>;
}

impl<C: Component> guest::Guest for C {
    fn describe() -> Vec<guest::TaskDefinition> {
        describe(C::tasks())
    }

    fn run(id: String, context: Context, payload: String) -> Result<String, guest::TaskError> {
        run(C::tasks(), &id, context, &payload)
    }
}

impl<C: Component> hooks::Guest for C {
    fn on_start(id: String, context: Context, payload: String) -> Result<(), String> {
        call::<C>(Moment::Start, &id, context, (&payload, Ok("null")))
    }

    fn on_success(id: String, context: Context, payload: String, output: String) -> Result<(), String> {
        call::<C>(Moment::Success, &id, context, (&payload, Ok(&output)))
    }

    fn on_failure(id: String, context: Context, payload: String, error: RunError) -> Result<(), String> {
        call::<C>(Moment::Failure, &id, context, (&payload, Err(&error.into())))
    }

    fn on_cancel(id: String, context: Context, payload: String) -> Result<(), String> {
        call::<C>(Moment::Cancel, &id, context, (&payload, Ok("null")))
    }

    fn on_complete(
        id: String,
        context: Context,
        payload: String,
        outcome: Result<String, RunError>,
    ) -> Result<(), String> {
        let outcome = outcome.map_err(RunFailure::from);
        call::<C>(Moment::Complete, &id, context, (&payload, outcome.as_ref().map(String::as_str)))
    }
}

fn call<C: Component>(
    moment: Moment,
    id: &str,
    context: Context,
    (payload, outcome): (&str, Outcome<'_>),
) -> Result<(), String> {
    match C::tasks().iter().find(|task| task.definition.id == id) {
        Some(task) => task.hooks.call(moment, &begin(context), payload, outcome).map_err(|error| error.to_string()),
        None => Err(format!("this component has no task \"{id}\"")),
    }
}
