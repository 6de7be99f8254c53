//! What a scrape says, by plugin, rollout and version.

use std::collections::{BTreeMap, BTreeSet};

use super::scrape::{Sample, Scrape, DURATION};

/// What a proxy does.
#[derive(Debug, Default)]
pub struct Picture {
    pub plugins: BTreeMap<String, Plugin>,
}

#[derive(Debug, Default)]
pub struct Plugin {
    /// It runs without a valid configuration.
    pub is_invalid: bool,
    /// How many configurations it refused.
    pub rejected: f64,
    pub rollouts: BTreeMap<String, BTreeMap<String, Version>>,
}

/// One version, since the proxy started or since the scrape before.
#[derive(Debug, Default)]
pub struct Version {
    pub requests: f64,
    pub responses: f64,
    pub failures: f64,
    /// Percent in force now.
    pub weight: Option<f64>,
    pub held_out: bool,
    /// How often it tripped since the proxy started, by cause.
    pub trips: BTreeMap<String, f64>,
    /// How near a trip is, 0 to 1.
    pub evidence: Option<f64>,
    /// The last answer of each check, and whether it counts as bad.
    pub checks: BTreeMap<String, (Option<f64>, bool)>,
    /// Answers up to each bound, in milliseconds.
    buckets: Vec<(f64, f64)>,
}

impl Picture {
    /// What `now` says; the counters since `before`, where there is one.
    pub fn of(now: &Scrape, before: Option<&Scrape>) -> Self {
        let mut picture = Self::default();
        now.samples.iter().for_each(|sample| picture.add(sample, 1.0));
        for sample in before.iter().flat_map(|before| &before.samples) {
            picture.add(sample, -1.0);
        }
        let versions = picture.plugins.values_mut().flat_map(|plugin| plugin.rollouts.values_mut());
        for version in versions.flat_map(BTreeMap::values_mut) {
            version.buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            // A proxy that started anew counts from the beginning.
            for count in [&mut version.requests, &mut version.responses, &mut version.failures] {
                *count = count.max(0.0);
            }
        }
        picture
    }

    /// Adds a sample; with a `sign` of -1 takes what was counted before away.
    fn add(&mut self, sample: &Sample, sign: f64) {
        let is_now = sign > 0.0;
        let plugin = match is_now {
            true => self.plugins.entry(sample.label("plugin").to_owned()).or_default(),
            false => match self.plugins.get_mut(sample.label("plugin")) {
                Some(plugin) => plugin,
                None => return,
            },
        };
        match sample.name {
            "cohort_config_invalid" if is_now => return plugin.is_invalid = sample.value > 0.0,
            "cohort_config_rejected_total" if is_now => return plugin.rejected = sample.value,
            _ => {}
        }
        let (rollout, version) = (sample.label("rollout"), sample.label("rollout_version"));
        if rollout.is_empty() || version.is_empty() {
            return;
        }
        let rollout = plugin.rollouts.entry(rollout.to_owned()).or_default();
        rollout.entry(version.to_owned()).or_default().add(sample, sign);
    }
}

impl Version {
    fn add(&mut self, sample: &Sample, sign: f64) {
        let value = sample.value * sign;
        match sample.name {
            "cohort_requests_total" => self.requests += value,
            // What another filter answered in its place is not the version's.
            "cohort_responses_total" if sample.label("source") != "proxy" => {
                self.responses += value
            }
            "cohort_failures_total" => self.failures += value,
            DURATION => {
                let bound = match sample.label("le") {
                    "+Inf" => f64::INFINITY,
                    bound => bound.parse().unwrap_or(f64::INFINITY),
                };
                match self.buckets.iter_mut().find(|bucket| bucket.0 == bound) {
                    Some(bucket) => bucket.1 += value,
                    None => self.buckets.push((bound, value)),
                }
            }
            _ if sign < 0.0 => {}
            "cohort_version_weight" => self.weight = Some(value / 1000.0),
            "cohort_version_held_out" => self.held_out = value > 0.0,
            "cohort_guard_evidence" => self.evidence = Some(value / 1000.0),
            "cohort_guard_trips_total" => {
                self.trips.insert(sample.label("cause").to_owned(), value);
            }
            "cohort_analysis_value" => self.check(sample).0 = Some(value / 1000.0),
            "cohort_analysis_failing" => self.check(sample).1 = value > 0.0,
            _ => {}
        }
    }

    fn check(&mut self, sample: &Sample) -> &mut (Option<f64>, bool) {
        self.checks.entry(sample.label("check").to_owned()).or_default()
    }

    /// Why it was taken out, as far as the counters tell.
    pub fn causes(&self) -> Vec<&str> {
        let some = self.trips.iter().filter(|(_, count)| **count > 0.0);
        some.map(|(cause, _)| cause.as_str()).collect()
    }

    /// The time below which a share of the answers came, in milliseconds.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.buckets.last().map(|bucket| bucket.1).filter(|total| *total > 0.0)?;
        let wanted = total * share;
        let (mut low, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.buckets {
            if count >= wanted {
                // Beyond the last bound nothing more is known.
                if bound.is_infinite() || count <= below {
                    return Some(low);
                }
                return Some(low + (bound - low) * (wanted - below) / (count - below));
            }
            (low, below) = (bound, count);
        }
        Some(low)
    }
}

/// What wants a person, in words; nothing where all is well.
pub fn wants(picture: &Picture) -> Vec<String> {
    let mut wants = BTreeSet::new();
    for (name, plugin) in &picture.plugins {
        let whose = if name.is_empty() { String::new() } else { format!("plugin {name}: ") };
        if plugin.is_invalid {
            wants
                .insert(format!("{whose}no valid configuration: everybody gets the default route"));
        }
        if plugin.rejected > 0.0 {
            let count = plugin.rejected;
            let noun = if count == 1.0 { "configuration was" } else { "configurations were" };
            wants.insert(format!(
                "{whose}{count} {noun} refused since the proxy started; its log says why"
            ));
        }
        for (rollout, versions) in &plugin.rollouts {
            for (version, state) in versions {
                if state.held_out {
                    let causes = state.causes().join(", ");
                    let why =
                        if causes.is_empty() { String::new() } else { format!(" ({causes})") };
                    wants.insert(format!("{whose}rollout {rollout}: {version} is held out{why}"));
                }
                for (check, (_, failing)) in &state.checks {
                    if *failing {
                        wants.insert(format!(
                            "{whose}rollout {rollout}: {version}: check {check} fails"
                        ));
                    }
                }
            }
        }
    }
    wants.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::scrape::read;
    use super::*;

    fn scrape(canary: u32, failed: u32) -> Scrape {
        read(&format!(
            "cohort_requests_total{{rollout=\"a\",rollout_version=\"stable\",reason=\"HASH\"}} 100\n\
             cohort_requests_total{{rollout=\"a\",rollout_version=\"canary\",reason=\"HASH\"}} {canary}\n\
             cohort_responses_total{{rollout=\"a\",rollout_version=\"canary\",code_class=\"5xx\",source=\"upstream\"}} {canary}\n\
             cohort_responses_total{{rollout=\"a\",rollout_version=\"canary\",code_class=\"4xx\",source=\"proxy\"}} 7\n\
             cohort_failures_total{{rollout=\"a\",rollout_version=\"canary\"}} {failed}\n"
        ))
    }

    #[test]
    fn counters_are_told_since_the_scrape_before() {
        let (old, new) = (scrape(10, 1), scrape(30, 6));
        let picture = Picture::of(&new, Some(&old));
        let canary = &picture.plugins[""].rollouts["a"]["canary"];
        assert_eq!((canary.requests, canary.responses, canary.failures), (20.0, 20.0, 5.0));
        let restarted = Picture::of(&old, Some(&new));
        assert_eq!(restarted.plugins[""].rollouts["a"]["canary"].requests, 0.0);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let bucket = |le, count| {
            format!("cohort_request_duration_milliseconds_bucket{{rollout=\"a\",rollout_version=\"b\",le=\"{le}\"}} {count}\n")
        };
        let text = bucket("10", 50) + &bucket("100", 90) + &bucket("+Inf", 100);
        let picture = Picture::of(&read(&text), None);
        let version = &picture.plugins[""].rollouts["a"]["b"];
        assert_eq!(version.quantile(0.5), Some(10.0));
        assert_eq!(version.quantile(0.7), Some(55.0));
        assert_eq!(version.quantile(0.99), Some(100.0));
        assert_eq!(Version::default().quantile(0.5), None);
    }
}
