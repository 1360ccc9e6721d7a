//! Text that a peer sent, as log lines, receipts and terminals may hold it. What is kept of an object is kept byte for
//! byte; this is for what is only shown.

/// Longest text of a peer that is shown, characters: a UID's length. It is there to be recognised, not to fill disks.
const MAX_SHOWN_CHARS: usize = 64;

/// Printable ASCII as it is, anything else escaped (a terminal would obey a control character), and cut.
pub fn shown(text: &str) -> String {
    let mut escaped = text.chars().flat_map(|c| {
        let is_plain = (' '..='~').contains(&c);
        let (plain, other) = if is_plain { (Some(c), None) } else { (None, Some(c.escape_default())) };
        plain.into_iter().chain(other.into_iter().flatten())
    });
    let mut shown: String = escaped.by_ref().take(MAX_SHOWN_CHARS).collect();
    if escaped.next().is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_what_is_long_is_cut() {
        assert_eq!(shown("1.2.840"), "1.2.840");
        assert_eq!(shown("MR\'1"), "MR\'1");
        assert_eq!(shown("a\u{1b}[2J\nb\0"), "a\\u{1b}[2J\\nb\\u{0}");
        assert_eq!(shown(&"9".repeat(64)), "9".repeat(64));
        assert_eq!(shown(&"9".repeat(60_000)), "9".repeat(64) + "...");
    }
}
