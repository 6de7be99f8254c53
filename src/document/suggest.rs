//! Did you mean: the known word closest to an unknown one.

/// The one of `known` that `word` was probably meant to be: the same but for case, hyphens and
/// underscores, or a few slips of the pen away.
pub(crate) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = plain(word);
    let mut best: Option<(usize, &'a str)> = None;
    for &candidate in known {
        let plain_candidate = plain(candidate);
        let slips = slips(&word, &plain_candidate);
        let allowed = match plain_candidate.len() {
            0..=3 => 1,
            4..=9 => 2,
            _ => 3,
        };
        if slips <= allowed
            && slips < plain_candidate.len()
            && best.is_none_or(|(fewest, _)| slips < fewest)
        {
            best = Some((slips, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Lower case, without hyphens and underscores; no more than a name has.
fn plain(word: &str) -> Vec<u8> {
    word.bytes()
        .filter(|byte| !b"-_".contains(byte))
        .take(64)
        .map(|byte| byte.to_ascii_lowercase())
        .collect()
}

/// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
fn slips(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut cost =
                (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = j > 0 && previous == Some(y) && b.get(j - 1) == Some(&x);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
        previous = Some(x);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_hyphens_and_slips_of_the_pen_are_seen_through() {
        let known = ["name", "hashKey", "versions", "salt", "pin", "maxFailureRatio"];
        for (word, meant) in [
            ("hashkey", "hashKey"),
            ("hash_key", "hashKey"),
            ("hash-key", "hashKey"),
            ("version", "versions"),
            ("verisons", "versions"),
            ("slat", "salt"),
            ("pni", "pin"),
            ("naem", "name"),
            ("maxFailRatio", "maxFailureRatio"),
        ] {
            assert_eq!(closest(word, &known), Some(meant), "{word}");
        }
    }

    #[test]
    fn a_word_like_none_of_them_has_no_suggestion() {
        for word in ["", "x", "colour", "weightings", "österreich"] {
            assert_eq!(closest(word, &["name", "hashKey", "pin", "a"]), None, "{word}");
        }
    }
}
