//! Colours. `anstream` takes them out again where nobody would see them.

use std::borrow::Cow;

use crate::document::is_hidden;
use anstyle::{AnsiColor, Color, Style};

pub const GOOD: Style = colour(AnsiColor::Green).bold();
pub const BAD: Style = colour(AnsiColor::Red).bold();
pub const WARNING: Style = colour(AnsiColor::Yellow).bold();
pub const STRONG: Style = Style::new().bold();
pub const FAINT: Style = Style::new().dimmed();

/// The colour of the version at `position`: stable and its rivals apart, the same in every table.
pub fn version(position: usize) -> Style {
    const PALETTE: [AnsiColor; 5] =
        [AnsiColor::Cyan, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::Yellow, AnsiColor::Green];
    colour(PALETTE.get(position % PALETTE.len()).copied().unwrap_or(AnsiColor::Cyan))
}

const fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

/// `text` in `style`.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` on one line and without what a terminal obeys: every control character, and every character that
/// changes the order or the look of others, as `\u{..}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}
