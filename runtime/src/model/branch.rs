//! The names of git branches, each of which can have an environment of its own.

use super::limits::MAX_BRANCH_NAME_CHARS;

/// What stands before the name of a branch where git names it in full.
const PREFIXES: [&str; 7] =
    ["refs/heads/", "refs/remotes/", "refs/tags/", "refs/pull/", "refs/merge/", "refs/release/", "refs/"];

/// Why a text names no branch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a branch must have 1 to {MAX_BRANCH_NAME_CHARS} characters, none of which is a control character")]
pub struct BadBranchName;

/// The branch that a text names, without `refs/heads/` and space around it. `None`: it names none.
pub fn name_of(text: &str) -> Result<Option<String>, BadBranchName> {
    let text = text.trim();
    let name = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text).trim();
    if name.chars().any(char::is_control) || name.chars().count() > MAX_BRANCH_NAME_CHARS {
        return Err(BadBranchName);
    }
    Ok(Some(name.to_owned()).filter(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Option<&str>, BadBranchName>) {
        assert_eq!(name_of(text), expected.map(|name| name.map(Into::into)), "{text:?}");
    }

    #[test]
    fn a_branch_has_one_name_however_git_writes_it() {
        check("main", Ok(Some("main")));
        check(" feature/a b ", Ok(Some("feature/a b")));
        check("refs/heads/feature/x", Ok(Some("feature/x")));
        check("refs/pull/7/merge", Ok(Some("7/merge")));
        check("refs/other", Ok(Some("other")));
        check("heads/refs/heads/x", Ok(Some("heads/refs/heads/x")));
        check("", Ok(None));
        check("  ", Ok(None));
        check("refs/heads/", Ok(None));
    }

    #[test]
    fn names_have_a_limit_and_no_control_characters() {
        let longest = "ä".repeat(MAX_BRANCH_NAME_CHARS);
        check(&longest, Ok(Some(&longest)));
        check(&format!("{longest}x"), Err(BadBranchName));
        check("a\tb", Err(BadBranchName));
        check("a\u{7f}", Err(BadBranchName));
    }
}
