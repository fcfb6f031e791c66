//! Colours and headings, for a terminal and plain.

use std::io::IsTerminal;
use std::sync::OnceLock;

/// What went well.
pub(crate) fn good(text: &str) -> String {
    paint("32", text)
}

/// What went wrong.
pub(crate) fn bad(text: &str) -> String {
    paint("31", text)
}

/// What may be skipped while reading.
pub(crate) fn dim(text: &str) -> String {
    paint("2", text)
}

/// What is worth a look.
pub(crate) fn strong(text: &str) -> String {
    paint("1", text)
}

/// Begins a part of the output.
pub(crate) fn heading(text: &str) {
    println!("\n{}", paint("1;36", &format!("── {text} ")));
}

fn paint(code: &str, text: &str) -> String {
    static COLOURED: OnceLock<bool> = OnceLock::new();
    let coloured = COLOURED.get_or_init(|| std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal());
    if *coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
