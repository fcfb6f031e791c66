//! Hooks: functions of a component that the host calls around the runs of a task.

use super::run::Status;

/// When a function of the component is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Before the first attempt.
    Start,
    /// After the run completed.
    Success,
    /// After it ended otherwise, unless it was canceled.
    Failure,
    /// After it was canceled.
    Cancel,
    /// After every end, and after the other hook of that end.
    Complete,
}

words!(Hook {
    Start = "on-start",
    Success = "on-success",
    Failure = "on-failure",
    Cancel = "on-cancel",
    Complete = "on-complete",
});

/// The hooks of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks(Vec<Hook>);

impl Hooks {
    /// These hooks, each once.
    pub fn new(hooks: impl IntoIterator<Item = Hook>) -> Self {
        let mut hooks: Vec<Hook> = hooks.into_iter().collect();
        hooks.sort();
        hooks.dedup();
        Self(hooks)
    }

    /// The hooks that a stored text lists.
    pub fn parse(text: &str) -> Option<Self> {
        text.split_whitespace().map(Hook::parse).collect::<Option<Vec<_>>>().map(Self::new)
    }

    /// The text that is stored; `None`: there are no hooks.
    pub fn to_text(&self) -> Option<String> {
        let words: Vec<&str> = self.0.iter().map(|hook| hook.as_str()).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// Whether there is a hook to be called before the first attempt.
    pub fn at_start(&self) -> bool {
        self.0.contains(&Hook::Start)
    }

    /// The hooks that are called after an end with this status, in order.
    pub fn after(&self, end: Status) -> Vec<Hook> {
        let first = match end {
            Status::Completed => Hook::Success,
            Status::Canceled => Hook::Cancel,
            _ => Hook::Failure,
        };
        [first, Hook::Complete].into_iter().filter(|hook| self.0.contains(hook)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_hooks() {
        let all = Hooks::parse("on-complete on-start on-cancel on-failure on-success").expect("known words");
        assert_eq!(all.after(Status::Completed), [Hook::Success, Hook::Complete]);
        assert_eq!(all.after(Status::Canceled), [Hook::Cancel, Hook::Complete]);
        for end in [Status::Failed, Status::Crashed, Status::TimedOut, Status::Expired, Status::SystemFailure] {
            assert_eq!(all.after(end), [Hook::Failure, Hook::Complete]);
        }
        assert!(Hooks::new([Hook::Success]).after(Status::Failed).is_empty());
    }

    #[test]
    fn hooks_are_stored_as_words() {
        let hooks = Hooks::new([Hook::Complete, Hook::Start, Hook::Start]);
        assert_eq!(hooks.to_text().as_deref(), Some("on-start on-complete"));
        assert_eq!(Hooks::parse("on-start on-complete"), Some(hooks));
        assert_eq!((Hooks::default().to_text(), Hooks::parse("on-fire")), (None, None));
    }
}
