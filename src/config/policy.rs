//! What a Kubernetes API server can refuse by itself: a ValidatingAdmissionPolicy in CEL.
//!
//! What may stand where comes from the declarations of the configuration (`document::cel`); what its keys
//! mean together is said here, as far as CEL goes. Nothing that the reader takes may be refused.

use crate::document::cel::{self, all, millis, quoted, Check};

/// The policy: what is gathered once, and what must hold.
#[derive(Debug)]
pub struct AdmissionPolicy {
    /// Names and expressions, each of which may refer to those before it.
    pub variables: Vec<(String, String)>,
    /// Expressions, and what to say where one does not hold.
    pub validations: Vec<(String, String)>,
}

/// The configurations in the resource that is asked about, in a list.
///
/// A configuration is ours if it has our keys, or if the module is called `cohort`.
const CONFIGS: &str = r#"(object.kind == "EnvoyExtensionPolicy"
  ? (has(object.spec.wasm) ? object.spec.wasm : [])
      .map(w, {"config": has(w.config) ? w.config : null,
               "url": has(w.code) && has(w.code.image) && has(w.code.image.url) ? w.code.image.url
                    : has(w.code) && has(w.code.http) && has(w.code.http.url) ? w.code.http.url : ""})
    + (has(object.spec.dynamicModule) ? object.spec.dynamicModule : [])
      .map(m, {"config": has(m.config) ? m.config : null, "url": has(m.filterName) ? m.filterName : ""})
  : object.kind == "TrafficExtension"
  ? (has(object.spec.wasm) ? [object.spec.wasm] : [])
      .map(w, {"config": has(w.pluginConfig) ? w.pluginConfig : null, "url": has(w.url) ? w.url : ""})
  : [{"config": has(object.spec.pluginConfig) ? object.spec.pluginConfig : null,
      "url": has(object.spec.url) ? object.spec.url : ""}])
.filter(w, w["url"].matches("(^|/)cohort([:@.][^/]*)?$")
        || (type(w["config"]) == map && ("rollouts" in w["config"] || "segments" in w["config"])))
.map(w, w["config"])"#;

/// The policy for the configuration.
pub fn admission_policy() -> AdmissionPolicy {
    let (gathered, shapes) = cel::checks(&super::CONFIG, "variables.configs");
    let mut variables = vec![("found".to_owned(), CONFIGS.to_owned())];
    let maps = "variables.found.filter(c, type(c) == map)";
    variables.push(("configs".to_owned(), maps.to_owned()));
    variables.extend(gathered.into_iter().map(|one| (one.name, one.expression)));
    variables.push(("rollouts".to_owned(), ROLLOUTS.to_owned()));
    let mut checks = vec![Check {
        expression: "variables.found.all(c, type(c) == map)".to_owned(),
        message: format!("$: found nothing, allowed: {}", super::CONFIG.allowed),
    }];
    checks.extend(shapes);
    checks.extend(relations());
    AdmissionPolicy {
        variables,
        validations: checks.into_iter().map(|check| (check.expression, check.message)).collect(),
    }
}

/// Rollouts in a form in which what belongs together can be compared: the versions' names, those with a
/// weight, stable's name, and every place that names a version.
const ROLLOUTS: &str = r#"variables.rollout0_2.map(a, a.filter(r, "versions" in r && type(r["versions"]) == list
    && r["versions"].all(v, type(v) == map && "name" in v && type(v["name"]) == string
      && (!("weight" in v) || (type(v["weight"]) == int || type(v["weight"]) == double)))
    && "name" in r)
  .map(r, {"r": dyn(r),
    "names": dyn(r["versions"].map(v, v["name"])),
    "weighted": dyn(r["versions"].filter(v, "weight" in v)),
    "stable": dyn(r["versions"].filter(v, !("weight" in v)).map(v, v["name"])),
    "weights": dyn((("rules" in r && type(r["rules"]) == list)
        ? r["rules"].filter(q, type(q) == map && "weights" in q && type(q["weights"]) == map).map(q, q["weights"]) : [])
      + (("ramp" in r && type(r["ramp"]) == map && "steps" in r["ramp"] && type(r["ramp"]["steps"]) == list)
        ? r["ramp"]["steps"].filter(q, type(q) == map && "weights" in q && type(q["weights"]) == map).map(q, q["weights"]) : []))}))"#;

/// What must hold of one rollout `x`: its name in messages, the expression, and what is allowed.
fn relations() -> Vec<Check> {
    let mut checks = Vec::new();
    let mut about = |expression: &str, message: &str| {
        checks.push(Check {
            expression: all("variables.rollouts", 2, expression),
            message: format!("$.rollouts[*]{message}"),
        });
    };
    about(
        r#"x["stable"].size() == 1"#,
        ".versions: allowed: exactly one without a weight, which is stable",
    );
    about(
        r#"x["names"].all(n, x["names"].filter(m, m == n).size() == 1)"#,
        ".versions[*].name: allowed: each name once",
    );
    about(
        r#"([0.0] + x["weighted"].map(v, double(v["weight"]))).sum() <= 100.000001"#,
        ".versions: allowed: weights with a sum of at most 100",
    );
    about(
        r#"x["weights"].all(w, ([0.0] + w.filter(k, type(w[k]) == int || type(w[k]) == double).map(k, double(w[k]))).sum() <= 100.000001)"#,
        " weights: allowed: a sum of at most 100",
    );
    about(
        r#"x["weights"].all(w, w.all(k, k in x["names"] && !(k in x["stable"])))"#,
        " weights: allowed: names of versions other than stable, which gets the remainder",
    );
    let rules = list("rules");
    about(
        &format!(r#"{rules}.all(q, !("version" in q) || q["version"] in x["names"])"#),
        ".rules[*].version: allowed: a version of the rollout",
    );
    about(
        &format!(
            r#"{rules}.all(q, !("name" in q) || {rules}.filter(o, "name" in o && o["name"] == q["name"]).size() == 1)"#
        ),
        ".rules[*].name: allowed: each name once",
    );
    about(
        &inside(
            "overrides",
            r#"!("values" in o) || type(o["values"]) != map || o["values"].all(k, o["values"][k] in x["names"])"#,
        ),
        ".overrides.values: allowed: versions of the rollout",
    );
    about(
        &inside(
            "overrides",
            r#"!("values" in o) || type(o["values"]) != map || o["values"].all(k, !(k in x["names"]) || o["values"][k] == k)"#,
        ),
        ".overrides.values: allowed: no version's own name for another version",
    );
    about(
        &inside("guard", r#"!("fallback" in o) || o["fallback"] in x["names"]"#),
        ".guard.fallback: allowed: a version of the rollout",
    );
    about(
        &inside("health", r#"o.all(k, k in x["names"])"#),
        ".health: allowed: versions of the rollout",
    );
    about(
        &inside(
            "health",
            &format!(
                r#"o.all(k, type(o[k]) != map || !("timeout" in o[k] && type(o[k]["timeout"]) == string && o[k]["timeout"].matches({SPAN})) || ("interval" in o[k] && (type(o[k]["interval"]) != string || !o[k]["interval"].matches({SPAN}))) || {} <= ("interval" in o[k] ? {} : 5000))"#,
                millis(r#"o[k]["timeout"]"#),
                millis(r#"o[k]["interval"]"#),
            ),
        ),
        ".health[*].timeout: allowed: a duration of at most the interval",
    );
    let looks = list("analysis");
    about(
        &format!(
            r#"{looks}.all(q, !("name" in q) || {looks}.filter(o, "name" in o && o["name"] == q["name"]).size() == 1)"#
        ),
        ".analysis[*].name: allowed: each name once",
    );
    about(
        &format!(
            r#"{looks}.all(q, !("version" in q) || (q["version"] in x["names"] && !(q["version"] in x["stable"])))"#
        ),
        ".analysis[*].version: allowed: a version of the rollout other than stable",
    );
    about(
        &inside(
            "ramp",
            &format!(
                r#"!("steps" in o) || type(o["steps"]) != list || !o["steps"].all(s, type(s) == map && "after" in s && type(s["after"]) == string && s["after"].matches({SPAN})) || (o["steps"].map(s, {after}).isSorted() && o["steps"].all(s, o["steps"].filter(t, {other} == {after}).size() == 1))"#,
                after = millis(r#"s["after"]"#),
                other = millis(r#"t["after"]"#),
            ),
        ),
        ".ramp.steps[*].after: allowed: a longer duration than that of the step before",
    );
    let r = |key: &str| format!("({} in x[\"r\"])", quoted(key));
    about(
        &format!(
            r#"{} || x["weighted"].all(v, double(v["weight"]) == 0.0 || !("drain" in v) || v["drain"] != true)"#,
            r("ramp")
        ),
        ".versions[*].drain: allowed: false, or weight 0",
    );
    about(
        r#"!("hashScheme" in x["r"]) || !(x["r"]["hashScheme"] in ["unleash", "flagd"]) || x["weighted"].all(v, double(int(v["weight"])) == double(v["weight"]))"#,
        ".versions[*].weight: allowed: a whole percentage, because of the hashScheme",
    );
    let output = r#"("output" in x["r"] && type(x["r"]["output"]) == map && "clusterHeader" in x["r"]["output"])"#;
    about(
        &format!(r#"!{output} || x["r"]["versions"].all(v, "cluster" in v)"#),
        ".versions[*]: allowed: a cluster for every version, because output has a clusterHeader",
    );
    about(
        &format!(r#"{output} || x["r"]["versions"].all(v, !("cluster" in v))"#),
        ".versions[*].cluster: allowed: no cluster, because output has no clusterHeader to carry it",
    );
    about(
        &inside(
            "pin",
            &format!(r#"!("signingKey" in o) || {} || {}"#, r("hashKey"), r("anonymousId")),
        ),
        ".pin: allowed: a signed pin where users have a key",
    );
    checks.push(Check {
        expression: "variables.rollout0_2.all(a, a.all(r, !(\"name\" in r) || a.filter(o, \"name\" in o && o[\"name\"] == r[\"name\"]).size() == 1))".to_owned(),
        message: "$.rollouts[*].name: allowed: each name once".to_owned(),
    });
    checks.push(Check {
        expression: r#"variables.configs.all(c, !("rollouts" in c) || type(c["rollouts"]) != list || c["rollouts"].all(r, type(r) != map || !("rules" in r) || type(r["rules"]) != list || r["rules"].all(q, type(q) != map || !("segment" in q) || ("segments" in c && (type(c["segments"]) != map || q["segment"] in c["segments"])))))"#.to_owned(),
        message: "$.rollouts[*].rules[*].segment: allowed: the name of a segment".to_owned(),
    });
    checks
}

/// A duration that [`millis`] can read.
const SPAN: &str = r#""^0*[0-9]{1,12}(ms|s|m|h|d)$""#;

/// The objects in the list under `key` of the rollout `x`.
fn list(key: &str) -> String {
    let key = quoted(key);
    format!(
        r#"({key} in x["r"] && type(x["r"][{key}]) == list ? x["r"][{key}].filter(y, type(y) == map) : [])"#
    )
}

/// `predicate`, which is about `o`, for the object under `key` of the rollout `x`, if it is there.
fn inside(key: &str, predicate: &str) -> String {
    let key = quoted(key);
    format!(
        r#"({key} in x["r"] && type(x["r"][{key}]) == map ? [x["r"][{key}]] : []).all(o, {predicate})"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_configuration_is_in_the_policy() {
        let policy = admission_policy();
        let text: String = policy.validations.iter().map(|(text, _)| text.as_str()).collect();
        fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
            if let Some(properties) = schema.get("properties").and_then(|it| it.as_object()) {
                found.extend(properties.keys().cloned());
            }
            if let Some(object) = schema.as_object() {
                object.values().for_each(|value| keys(value, found));
            }
        }
        let mut names = Vec::new();
        keys(&crate::config::schema(), &mut names);
        assert!(names.len() > 80, "{}", names.len());
        for name in names {
            assert!(text.contains(&quoted(&name)), "{name}");
        }
    }

    #[test]
    fn no_message_tells_a_secret_and_each_says_what_is_allowed() {
        for (_, message) in admission_policy().validations {
            assert!(message.starts_with('$') && message.contains("allowed: "), "{message}");
            assert!(!message.contains('\n'));
        }
    }
}
