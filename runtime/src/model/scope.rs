//! What a public access token may do.
//!
//! A token carries scopes, `action:type[:id]`, of which each opens one kind of thing, or one thing:
//! `read:runs:run_1`, `trigger:tasks:hello`, `read:tags`. An id may hold colons. `admin` opens all.

use super::Timestamp;

/// A token that may be used for one trigger, or one batch, only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneTimeToken {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// From then on it is refused anyway.
    pub expires_at: Timestamp,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Look at it.
    Read,
    /// Change it.
    Write,
    /// Trigger a task.
    Trigger,
    /// Trigger a task many times.
    BatchTrigger,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Trigger => "trigger",
            Self::BatchTrigger => "batchTrigger",
        }
    }
}

/// A thing that a scope can open: its type, as the contract calls it, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource<'a> {
    /// `runs`, `tasks`, `tags`, `batch`, `waitpoints`, `inputStreams`, …
    pub kind: &'static str,
    /// Which one. `None`: all of them.
    pub id: Option<&'a str>,
}

impl<'a> Resource<'a> {
    /// The thing with this id.
    pub fn one(kind: &'static str, id: &'a str) -> Self {
        Self { kind, id: Some(id) }
    }

    /// Everything of a kind.
    pub fn all(kind: &'static str) -> Self {
        Self { kind, id: None }
    }
}

/// Whether one of `scopes` opens `resource` for `action`.
pub fn allows(scopes: &[String], action: Action, resource: Resource<'_>) -> bool {
    scopes.iter().any(|scope| scope_allows(scope, action, resource))
}

/// Whether one of `scopes` opens anything at all for `action`.
pub fn allows_some(scopes: &[String], action: Action) -> bool {
    let is_for = |scope: &str| match scope.split_once(':') {
        Some((given, _)) => given == "*" || given == action.as_str(),
        None => scope == "admin",
    };
    scopes.iter().any(|scope| is_for(scope))
}

fn scope_allows(scope: &str, action: Action, resource: Resource<'_>) -> bool {
    let mut parts = scope.splitn(3, ':');
    let (given_action, kind, id) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let Some(kind) = kind else { return given_action == "admin" };
    let action_fits = given_action == "*" || given_action == action.as_str();
    let kind_fits = kind == "all" || kind == resource.kind;
    // A scope without an id is for all of the kind; one with an id is for that one only.
    let id_fits = id.is_none_or(|id| resource.id == Some(id));
    action_fits && kind_fits && id_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scope: &str, action: Action, resource: Resource<'_>, expected: bool) {
        assert_eq!(allows(&[scope.into()], action, resource), expected, "{scope} for {action:?} of {resource:?}");
    }

    #[test]
    fn a_scope_opens_what_it_names_and_nothing_else() {
        let run = Resource::one("runs", "run_1");
        check("read:runs:run_1", Action::Read, run, true);
        check("read:runs", Action::Read, run, true);
        check("read:runs", Action::Read, Resource::all("runs"), true);
        check("read:runs:run_2", Action::Read, run, false);
        check("read:runs:run_1", Action::Read, Resource::all("runs"), false);
        check("write:runs:run_1", Action::Read, run, false);
        check("read:tags:run_1", Action::Read, run, false);
        check("trigger:tasks:hello", Action::BatchTrigger, Resource::one("tasks", "hello"), false);
        check("batchTrigger:tasks:hello", Action::BatchTrigger, Resource::one("tasks", "hello"), true);
    }

    #[test]
    fn some_scope_is_for_an_action() {
        for (scope, expected) in [("trigger:tasks:a", true), ("*:tags", true), ("admin", true), ("read:runs", false)] {
            assert_eq!(allows_some(&[scope.into()], Action::Trigger), expected, "{scope}");
        }
        assert!(!allows_some(&["trigger".into(), "admin:x".into()], Action::Trigger));
    }

    #[test]
    fn wildcards_open_more() {
        let tag = Resource::one("tags", "user:1");
        check("read:tags:user:1", Action::Read, tag, true);
        check("*:tags", Action::Write, tag, true);
        check("read:all", Action::Read, tag, true);
        check("read:all", Action::Write, tag, false);
        check("admin", Action::Trigger, tag, true);
    }

    #[test]
    fn what_is_no_scope_opens_nothing() {
        let run = Resource::one("runs", "");
        for scope in ["", ":", "read", "read:", "::", "admin2", "read:runs:"] {
            check(scope, Action::Read, Resource::one("runs", "run_1"), false);
        }
        check("read:runs:", Action::Read, run, true);
    }
}
