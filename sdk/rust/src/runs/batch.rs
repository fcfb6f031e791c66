//! Many runs that are triggered together.

use serde::de::DeserializeOwned;

use super::failure::read_result;
use super::{BatchHandle, Child, ChildError, TriggerError, wit};
use crate::bindings::dacapo::task::wait::Outcome;
use crate::wait::{Pending, unexpected};

/// What came of each run of a batch, in the order in which they were listed.
pub type Outputs<O> = Vec<Result<O, ChildError>>;

/// Begins a batch of 1 to 1,000 runs, of any tasks: all of them are triggered, or none.
pub fn batch(children: impl IntoIterator<Item = Child>) -> Batch {
    Batch(children.into_iter().collect())
}

/// Runs that are to be triggered together. Made by [`batch()`].
#[derive(Debug, Clone)]
#[must_use = "no run is made before `.trigger()`, `.trigger_and_wait()` or `.start()`"]
pub struct Batch(Vec<Child>);

impl Batch {
    /// Triggers all of them and goes on.
    pub fn trigger(self) -> Result<BatchHandle, TriggerError> {
        Ok(wit::batch_trigger(&self.items()?)?.into())
    }

    /// Triggers all of them and waits until all have ended. One that failed does not keep the
    /// outputs of the others back:
    ///
    /// ```no_run
    /// # use dacapo::prelude::*;
    /// # fn example() -> Result<u64> {
    /// let sizes = runs::batch(["a", "b"].map(|name| runs::child("size", name))).trigger_and_wait::<u64>()?;
    /// let sizes: Vec<u64> = sizes.into_iter().collect::<Result<_, _>>()?; // or fail with the first that did
    /// # Ok(sizes.iter().sum())
    /// # }
    /// ```
    pub fn trigger_and_wait<O: DeserializeOwned + 'static>(self) -> Result<Outputs<O>, TriggerError> {
        self.start().wait()
    }

    /// Triggers all of them, to be waited for later, perhaps together with others. A batch that could
    /// not be triggered gives the error when it is waited for.
    pub fn start<O: DeserializeOwned + 'static>(self) -> Pending<Result<Outputs<O>, TriggerError>> {
        match self.items().and_then(|items| Ok(wit::batch_trigger_and_wait(&items)?)) {
            Ok((handle, raw)) => {
                let read = |outcome| Ok(read_all_ended(outcome));
                Pending::of_host(|| raw, read).of_runs(BatchHandle::from(handle).runs)
            }
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn items(self) -> Result<Vec<wit::BatchItem>, TriggerError> {
        self.0.into_iter().map(Child::item).collect()
    }
}

fn read_all_ended<O: DeserializeOwned>(outcome: Outcome) -> Outputs<O> {
    match outcome {
        Outcome::AllEnded(results) => results.into_iter().map(read_result).collect(),
        other => unexpected("a batch", &other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::dacapo::task::wait as wit_wait;

    #[test]
    fn one_failure_keeps_no_output_back() {
        let ended = |id: &str, output| wit_wait::RunResult { id: id.into(), task_id: "size".into(), output, cpu: 1 };
        let canceled = wit_wait::RunError {
            status: wit_wait::FailedStatus::Canceled,
            name: "Canceled".into(),
            message: "somebody canceled it".into(),
            stack: None,
        };
        let results =
            vec![ended("run_a", Ok("1".into())), ended("run_b", Err(canceled)), ended("run_c", Ok("3".into()))];

        let outputs = read_all_ended::<u8>(Outcome::AllEnded(results));

        assert_eq!((&outputs[0], &outputs[2]), (&Ok(1), &Ok(3)));
        let error = outputs[1].as_ref().expect_err("it was canceled");
        assert_eq!(error.to_string(), "run_b (task \"size\") was canceled: Canceled: somebody canceled it");
    }

    #[test]
    fn nothing_is_triggered_outside_a_component() {
        assert!(batch([super::super::child("size", 1)]).trigger().is_err());
    }
}
