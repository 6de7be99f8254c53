//! A rollout under construction, and what there is to say about it.

use super::ledger::Ledger;
use super::yaml::Yaml;

/// A rollout made of something else.
#[derive(Debug, Default)]
pub struct Draft {
    /// What it was made of.
    pub from: String,
    pub name: String,
    /// What is different from now on.
    pub changes: Vec<String>,
    /// What the configuration does not say, and why.
    pub lost: Vec<String>,
    pub matches: Vec<Yaml>,
    /// Names and weights; stable is the one without.
    pub versions: Vec<Version>,
    pub rules: Vec<Yaml>,
    /// Everything else, in the order of the configuration.
    pub rest: Vec<(&'static str, Yaml, Vec<String>)>,
}

/// A version of a draft.
#[derive(Debug)]
pub struct Version {
    pub name: String,
    pub weight: Option<f64>,
    pub note: String,
}

impl Draft {
    pub fn new(from: String, name: &str) -> Self {
        let mut draft = Self { from, name: label(name), ..Self::default() };
        draft.renamed("the rollout", name);
        draft
    }

    pub fn change(&mut self, text: impl Into<String>) {
        self.changes.push(text.into());
    }

    pub fn lose(&mut self, text: impl Into<String>) {
        self.lost.push(text.into());
    }

    pub fn put(&mut self, key: &'static str, value: impl Into<Yaml>, above: &[&str]) {
        let above = above.iter().map(|line| (*line).to_owned()).collect();
        self.rest.push((key, value.into(), above));
    }

    /// Names what a resource says beyond what was read.
    pub fn lose_rest(&mut self, ledger: &Ledger<'_>, why: impl Fn(&str) -> Option<&'static str>) {
        for (path, value) in ledger.rest() {
            let reason = why(&path).map_or(String::new(), |why| format!(" ({why})"));
            self.lose(format!("{path}: {value}{reason}"));
        }
    }

    /// Adds a version, or finds the one that has this name already.
    pub fn version(
        &mut self,
        written: &str,
        weight: Option<f64>,
        note: impl Into<String>,
    ) -> String {
        let name = label(written);
        if !self.versions.iter().any(|version| version.name == name) {
            self.renamed("the version", written);
            self.versions.push(Version { name: name.clone(), weight, note: note.into() });
        }
        name
    }

    fn renamed(&mut self, what: &str, written: &str) {
        let name = label(written);
        if name != written {
            self.change(format!("{what} {written} is called {name}: a name has lower-case letters, digits and hyphens"));
        }
    }

    /// Adds where users' keys are read, which no source says.
    pub fn sticky(&mut self) {
        self.put(
            "hashKey",
            vec![Yaml::one("header", "x-user-id")],
            &["Users are told apart by this header: put here what your requests carry."],
        );
        let cookie = Yaml::map().with("name", "cohort-id").with("maxAge", "365d");
        self.put(
            "anonymousId",
            Yaml::one("cookie", cookie),
            &["Visitors without it get a cookie of their own."],
        );
    }

    /// The configuration of the rollout, with its comments.
    pub fn finish(self) -> Yaml {
        let mut comments = vec![format!("From {}.", self.from)];
        if !self.changes.is_empty() {
            comments.push("What changes:".into());
            comments.extend(self.changes.iter().map(|change| format!("- {change}")));
        }
        if !self.lost.is_empty() {
            comments.push("Not carried over:".into());
            comments.extend(self.lost.iter().map(|lost| format!("- {lost}")));
        }
        let comments: Vec<&str> = comments.iter().map(String::as_str).collect();
        let mut rollout = Yaml::map().noted("name", self.name, &comments);
        if !self.matches.is_empty() {
            rollout = rollout.with("match", self.matches);
        }
        let versions = self.versions.into_iter().map(|version| {
            let note = [version.note.as_str()];
            let note = if version.note.is_empty() { &[][..] } else { &note[..] };
            let named = Yaml::map().noted("name", version.name, note);
            match version.weight {
                Some(weight) => named.with("weight", weight),
                None => named,
            }
        });
        rollout = rollout.with("versions", versions.collect::<Vec<_>>());
        for (key, value, above) in self.rest {
            let above: Vec<&str> = above.iter().map(String::as_str).collect();
            rollout = rollout.noted(key, value, &above);
        }
        if !self.rules.is_empty() {
            rollout = rollout.with("rules", self.rules);
        }
        rollout
    }
}

/// `text` as a name of the configuration: lower-case letters, digits, hyphens inside, at most 63.
pub fn label(text: &str) -> String {
    let mapped: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let short: String = mapped.trim_matches('-').chars().take(63).collect();
    let short = short.trim_matches('-');
    if short.is_empty() {
        "unnamed".into()
    } else {
        short.to_owned()
    }
}

/// A percentage with at most three decimals.
pub fn percent(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A duration as Go writes it (`1m30s`), in milliseconds.
pub fn go_duration(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 6] = [
        ("ms", 1.0),
        ("us", 0.001),
        ("ns", 0.000_001),
        ("h", 3_600_000.0),
        ("m", 60_000.0),
        ("s", 1000.0),
    ];
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let (unit, scale) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        total += number.parse::<f64>().ok()? * scale;
        rest = tail.strip_prefix(unit)?;
    }
    Some(total.round() as u64)
}

/// Milliseconds as the configuration writes them, in the largest unit that is whole.
pub fn duration(millis: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match units.iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_any_text() {
        let all: Vec<String> =
            ["v1.2_RC", "--", "reviews", &"x".repeat(80)].into_iter().map(label).collect();
        assert_eq!(all, ["v1-2-rc", "unnamed", "reviews", &"x".repeat(63)]);
    }

    #[test]
    fn go_durations_are_read_and_ours_are_written() {
        let all: Vec<Option<String>> =
            ["1m", "1m30s", "1h0m0s", "250ms", "1.5s", "48h", "", "x", "5"]
                .into_iter()
                .map(|text| go_duration(text).map(duration))
                .collect();
        let expected =
            ["1m", "90s", "1h", "250ms", "1500ms", "2d"].map(|text| Some(text.to_owned()));
        assert_eq!(all.get(..6), Some(&expected[..]));
        assert_eq!(all.get(6..), Some(&[None, None, None][..]));
    }
}
