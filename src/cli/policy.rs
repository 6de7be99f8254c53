//! `cohort schema --admission-policy`: the policy as a manifest.

use std::fmt::Write;

use crate::config;

/// The ValidatingAdmissionPolicy and its binding, as YAML.
pub fn manifest() -> String {
    let policy = config::admission_policy();
    let mut text = String::from(HEAD);
    text.push_str("  variables:\n");
    for (name, expression) in &policy.variables {
        // Writing to a string does not fail.
        let _ = writeln!(text, "    - name: {name}");
        block("      expression", expression, &mut text);
    }
    text.push_str("  validations:\n");
    for (expression, message) in &policy.validations {
        block("    - expression", expression, &mut text);
        block("      message", message, &mut text);
    }
    text.push_str(BINDING);
    text
}

/// A key with a text, as a block in which nothing means anything to YAML.
fn block(key: &str, value: &str, text: &mut String) {
    let _ = writeln!(text, "{key}: |-");
    for line in value.lines() {
        let _ = writeln!(text, "        {line}");
    }
}

const HEAD: &str = r#"# Made by `cohort schema --admission-policy` (Kubernetes 1.30 and later). The API server refuses a configuration
# that the filter would refuse, as far as CEL goes; `cohort validate` finds the rest. Other plugins pass.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: cohort
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [extensions.istio.io]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: [wasmplugins, trafficextensions]
      - apiGroups: [gateway.envoyproxy.io]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: [envoyextensionpolicies]
  matchConditions:
    # What was there before the policy may still get a label, a status, a finalizer.
    - name: spec-changed
      expression: request.operation == "CREATE" || object.spec != oldObject.spec
"#;

const BINDING: &str = r#"---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: cohort
spec:
  policyName: cohort
  validationActions: [Deny]
"#;
