//! Texts that are cut.

/// The text, or its beginning with a sign that there is more; `most` bytes at most, and at least those of the sign.
pub(crate) fn bounded(mut text: String, most: usize) -> String {
    const MORE: char = '…';
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(MORE.len_utf8())));
        text.push(MORE);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(bounded("whole".into(), 5), "whole");
        assert_eq!(bounded("aüü".into(), 5), "aüü");
        assert_eq!(bounded("aüüü".into(), 5), "a…");
    }
}
