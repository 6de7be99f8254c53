//! A rollout under construction, and what there is to say about it.

use super::super::yaml::{shown, Yaml};
use super::condition::{condition_fault, fault, fault_among};
use super::ledger::Ledger;
use super::run::{Family, Key, Run};
use super::units::{distinct, duration, label, shares};

/// A start that is so far away that a ramp does nothing until a person sets another.
const NEVER: &str = "2100-01-01T00:00:00Z";

/// A rollout made of something else.
#[derive(Debug, Default)]
pub struct Draft {
    /// What it was made of.
    from: String,
    pub name: String,
    /// What is different from now on.
    changes: Vec<String>,
    /// What the configuration does not say, and why.
    lost: Vec<String>,
    matches: Vec<Yaml>,
    /// The comment above `match`.
    matches_note: String,
    pub versions: Vec<Version>,
    /// The position of the version that gets the remainder.
    pub stable: usize,
    rules: Vec<Yaml>,
    salt: Option<String>,
    /// Everything else, in the order of the configuration.
    rest: Vec<(&'static str, Yaml, Vec<String>)>,
}

/// A version of a draft.
#[derive(Clone, Debug, Default)]
pub struct Version {
    pub name: String,
    /// In the unit of its source, relative to the sum of all.
    pub weight: f64,
    pub note: String,
    pub headers: Option<Yaml>,
    /// What the version is in its source, the same wherever it stands.
    pub id: String,
}

impl Draft {
    pub fn new(run: &Run<'_>, from: String, name: &str) -> Self {
        let mut draft = Self { from, name: run.name(&label(name)), ..Self::default() };
        if draft.name != name {
            draft.renamed("rollout", name, &draft.name.clone());
        }
        draft
    }

    /// The header by which routes choose a version.
    pub fn header(&self) -> String {
        format!("x-cohort-{}", self.name)
    }

    pub fn change(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.changes.contains(&text) {
            self.changes.push(text);
        }
    }

    pub fn lose(&mut self, text: impl Into<String>) {
        self.lost.push(text.into());
    }

    /// Sets `key` where the filter takes the value; else the comment says why not.
    pub fn put(&mut self, key: &'static str, value: impl Into<Yaml>, above: &[&str]) {
        let value = value.into();
        let stable = self.stable_name().to_owned();
        let others = self.versions.iter().map(|version| version.name.as_str());
        let mut names = vec![stable.as_str()];
        names.extend(others.filter(|name| *name != stable));
        let fault =
            if names.len() > 1 { fault_among(&names, key, &value) } else { fault(key, &value) };
        match fault {
            Some(why) => self.lose(format!("{key}: {} ({why})", value.shown())),
            None => {
                let above = above.iter().map(|line| (*line).to_owned()).collect();
                self.rest.push((key, value, above));
            }
        }
    }

    /// Names what a resource says beyond what was read.
    pub fn lose_rest(&mut self, ledger: &Ledger<'_>, why: impl Fn(&str) -> Option<&'static str>) {
        for (path, value) in ledger.rest() {
            let reason = why(&path).map_or(String::new(), |why| format!(" ({why})"));
            self.lose(format!("{path}: {value}{reason}"));
        }
    }

    /// Names the values of a resource that were read and stand nowhere on `page` word for word.
    pub fn said_otherwise(&mut self, values: Vec<(String, String)>) {
        for (path, value) in values {
            self.change(match value.as_str() {
                "" => format!("{path}: nothing stands there"),
                value => format!("{path}: {} has another form here", shown(value)),
            });
        }
    }

    /// Sets which requests it is for, with a comment; nothing is every request. What the filter does not
    /// take is named. A rollout that was for some requests does not become one for all of them.
    pub fn scope(&mut self, matches: Vec<Yaml>, note: impl Into<String>) {
        let some = !matches.is_empty();
        self.matches_note = note.into();
        for condition in matches {
            match condition_fault(&condition) {
                None => self.matches.push(condition),
                Some(why) => self.lose(format!("match {} ({why})", condition.shown())),
            }
        }
        if some && self.matches.is_empty() {
            self.nowhere();
        }
    }

    pub fn matches(&self) -> &[Yaml] {
        &self.matches
    }

    /// Makes it a rollout for no request until a person says for which.
    pub fn nowhere(&mut self) {
        let host = format!("{}.invalid", self.name);
        self.matches = vec![Yaml::one("host", Yaml::one("exact", host))];
        self.matches_note =
            "It decides for no request yet: put the hosts here that lead to it.".into();
    }

    /// Adds a version, or finds the one that is the same; its name.
    pub fn version(&mut self, wanted: &str, version: Version) -> String {
        if let Some(same) = self.versions.iter().find(|other| other.id == version.id) {
            return same.name.clone();
        }
        let taken = |name: &str| self.versions.iter().any(|version| version.name == name);
        let name = distinct(&label(wanted), taken);
        if name != wanted {
            self.renamed("version", wanted, &name);
        }
        self.versions.push(Version { name: name.clone(), ..version });
        name
    }

    fn renamed(&mut self, what: &str, written: &str, name: &str) {
        let why = if label(written) == written {
            "there is another of that name"
        } else {
            "a name has lower-case letters, digits and hyphens"
        };
        self.change(format!("the {what} {} is called {name}: {why}", shown(written)));
    }

    /// Adds a rule, or says why there is none.
    pub fn rule(&mut self, wanted: &str, when: Vec<Yaml>, choice: (&str, Yaml)) {
        let (good, bad): (Vec<Yaml>, Vec<Yaml>) =
            when.into_iter().partition(|condition| condition_fault(condition).is_none());
        for condition in bad {
            let why = condition_fault(&condition).unwrap_or_default();
            self.lose(format!(
                "rule {}: the condition {} is left out ({why})",
                shown(wanted),
                condition.shown()
            ));
        }
        if good.is_empty() {
            return self.lose(format!(
                "rule {}: it has no condition left, so that it would move everybody; it is left out",
                shown(wanted)
            ));
        }
        let taken =
            |name: &str| self.rules.iter().any(|rule| rule.get("name") == Some(&name.into()));
        let name = distinct(&label(wanted), taken);
        if name != wanted {
            self.renamed("rule", wanted, &name);
        }
        self.rules.push(Yaml::one("name", name).with("match", good).with(choice.0, choice.1));
    }

    /// The weights of the versions, stable's among them, in percent with three decimals.
    pub fn shares(&self) -> Vec<f64> {
        let weights: Vec<f64> = self.versions.iter().map(|version| version.weight).collect();
        shares(&weights)
    }

    /// Makes the version with the largest weight stable; [`Self::settle`] follows.
    pub fn largest_is_stable(&mut self) {
        let largest =
            self.versions.iter().enumerate().max_by(|(a, left), (b, right)| {
                left.weight.total_cmp(&right.weight).then(b.cmp(a))
            });
        self.stable = largest.map_or(0, |(position, _)| position);
        if self.versions.len() > 1 {
            self.change(format!(
                "{} is stable, because its weight is the largest: it gets the remainder",
                self.stable_name()
            ));
        }
    }

    /// Where another rollout divides the same versions, takes its salt, its order and its stable version,
    /// so that a user is on the same side of both.
    pub fn settle(&mut self, run: &Run<'_>) {
        let ids: Vec<String> = self.versions.iter().map(|version| version.id.clone()).collect();
        let stable = ids.get(self.stable).cloned().unwrap_or_default();
        let own = Family { salt: self.name.clone(), stable, order: ids };
        let family = run.family(own);
        if family.salt != self.name {
            let place = |id: &str| family.order.iter().position(|known| known == id);
            self.versions.sort_by_key(|version| place(&version.id).unwrap_or(usize::MAX));
            let same = self.versions.iter().position(|version| version.id == family.stable);
            self.stable = same.unwrap_or(self.stable);
            self.change(format!(
                "the salt is that of rollout {}, which divides the same versions: a user gets the same side in both",
                family.salt
            ));
            self.salt = Some(family.salt);
        }
    }

    pub fn stable_name(&self) -> &str {
        self.versions.get(self.stable).map_or("stable", |version| &version.name)
    }

    /// Says where users' keys are read: as the source does, or as most requests have it.
    pub fn sticky(&mut self, key: Option<Key>) {
        match key {
            Some(Key { sources, note }) if fault("hashKey", &sources).is_none() => {
                self.put("hashKey", sources, &[&note]);
            }
            other => {
                if let Some(Key { sources, note }) = other {
                    self.lose(format!("{note} {}", sources.shown()));
                }
                self.put(
                    "hashKey",
                    vec![Yaml::one("header", "x-user-id")],
                    &["This header tells users apart: change it to what your requests carry."],
                );
            }
        }
        let cookie = Yaml::one("name", "cohort-id").with("maxAge", "365d");
        self.put(
            "anonymousId",
            Yaml::one("cookie", cookie),
            &["Visitors without it get a cookie of their own."],
        );
    }

    /// Adds a ramp that waits for a person to set its start. The steps: when, in milliseconds, and the
    /// weight of `version`.
    pub fn ramp(&mut self, version: &str, steps: &[(u64, f64)]) {
        if steps.is_empty() {
            return;
        }
        let steps: Vec<Yaml> = steps
            .iter()
            .map(|(after, weight)| {
                let after = if *after == 0 { "0s".to_owned() } else { duration(*after) };
                Yaml::one("after", after).with("weights", Yaml::one(version, *weight))
            })
            .collect();
        let start = ["Nobody moves before this. Set it to the time when the release starts."];
        self.put("ramp", Yaml::map().noted("start", NEVER, &start).with("steps", steps), &[]);
    }

    /// Adds what a rollout needs and its source does not have: a second version.
    pub fn complete(&mut self) {
        for number in self.versions.len()..2 {
            let note = "There was one version only: put the other here.".to_owned();
            let id = format!("\u{0} {number}");
            self.version("other", Version { note, id, ..Version::default() });
        }
    }

    /// The configuration of the rollout, with its comments.
    pub fn finish(&self) -> Yaml {
        let mut comments = vec![format!("From {}.", self.from)];
        for (heading, lines) in
            [("What changes:", &self.changes), ("Not carried over:", &self.lost)]
        {
            if !lines.is_empty() {
                comments.push(heading.into());
                comments.extend(lines.iter().map(|line| format!("- {line}")));
            }
        }
        let comments: Vec<&str> = comments.iter().map(String::as_str).collect();
        let mut rollout = Yaml::map().noted("name", self.name.as_str(), &comments);
        if !self.matches.is_empty() {
            let note = Some(self.matches_note.as_str()).filter(|note| !note.is_empty());
            rollout = rollout.noted("match", self.matches.clone(), note.as_slice());
        }
        let versions = self.versions.iter().zip(self.shares()).enumerate();
        let versions = versions.map(|(position, (version, share))| {
            let note = Some(version.note.as_str()).filter(|note| !note.is_empty());
            Yaml::map()
                .noted("name", version.name.as_str(), note.as_slice())
                .maybe("weight", (position != self.stable).then_some(share))
                .maybe("requestHeaders", version.headers.clone())
        });
        rollout = rollout.with("versions", versions.collect::<Vec<_>>());
        rollout = rollout.maybe("salt", self.salt.clone());
        for (key, value, above) in &self.rest {
            let above: Vec<&str> = above.iter().map(String::as_str).collect();
            rollout = rollout.noted(key, value.clone(), &above);
        }
        if !self.rules.is_empty() {
            rollout = rollout.with("rules", self.rules.clone());
        }
        rollout
    }

    pub fn set_salt(&mut self, salt: &str) {
        self.salt = Some(salt.to_owned());
    }
}
