//! What sources become, one behaviour a test.

use super::super::super::source::tree::Node;
use super::super::super::yaml::Yaml;
use super::super::{read_documents, text};
use super::{good, reader};

/// What a source becomes, without comments and as it is read back.
fn rollouts(source: &str) -> Vec<Node> {
    let page =
        text("source.yaml", source.as_bytes()).unwrap_or_else(|| panic!("nothing of {source}"));
    assert_eq!(good(&page), Ok(()), "{page}");
    reader::read(&page).unwrap()[0].get("rollouts").unwrap().items().to_vec()
}

fn only(source: &str) -> String {
    let all = rollouts(source);
    assert_eq!(all.len(), 1, "{all:?}");
    Yaml::from(&all[0]).inline()
}

fn virtual_service(http: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: shop}}\nspec: {{hosts: [shop.example.com], http: [{http}]}}\n")
}

#[test]
fn a_condition_without_a_counterpart_makes_no_rule() {
    for condition in [
        "gateways: [mesh]",
        "port: 80",
        "sourceLabels: {app: a}",
        "sourceNamespace: a",
        "scheme: {exact: https}",
        "headers: {a: {exact: b}}, port: 80",
        "uri: {regex: '(?!a).*'}",
        "uri: {prefix: api}",
    ] {
        let rollout = only(&virtual_service(&format!(
            "{{match: [{{{condition}}}], route: [{{destination: {{host: shop, subset: internal}}}}]}}, \
             {{route: [{{destination: {{host: shop, subset: public}}}}]}}"
        )));
        assert!(!rollout.contains("rules"), "{condition}: {rollout}");
    }
}

#[test]
fn routes_that_divide_the_same_versions_have_one_salt() {
    let split = |v1: u32, v2: u32| {
        format!("route: [{{destination: {{host: shop, subset: v1}}, weight: {v1}}}, {{destination: {{host: shop, subset: v2}}, weight: {v2}}}]")
    };
    let same = rollouts(&virtual_service(&format!(
        "{{match: [{{uri: {{prefix: /api}}}}], {}}}, {{{}}}",
        split(80, 20),
        split(8, 2)
    )));
    assert_eq!(same.len(), 1);
    let other = rollouts(&virtual_service(&format!(
        "{{match: [{{uri: {{prefix: /api}}}}], {}}}, {{{}}}",
        split(80, 20),
        split(10, 90)
    )));
    let [first, second] = other.as_slice() else { panic!("{other:?}") };
    assert_eq!(second.get("salt").and_then(Node::text), first.get("name").and_then(Node::text));
    // Stable in both, so that who is on v2 in the one is in the other.
    assert_eq!(second.get("versions").unwrap().items()[0].get("weight").map(Node::brief), None);
    let both = format!(
        "{}---\n{}",
        virtual_service(&format!("{{{}}}", split(80, 20))),
        virtual_service(&format!("{{{}}}", split(70, 30)))
    );
    assert!(rollouts(&both)[1].get("salt").is_some());
}

#[test]
fn destinations_that_differ_in_their_headers_are_versions() {
    let destination = |model: &str, weight: u32| {
        format!("{{destination: {{host: serving}}, headers: {{request: {{set: {{model: {model}}}}}}}, weight: {weight}}}")
    };
    let rollout = only(&virtual_service(&format!(
        "{{route: [{}, {}]}}",
        destination("a", 80),
        destination("b", 20)
    )));
    assert!(rollout.contains("{name: b, weight: 20, requestHeaders: {model: b}}"), "{rollout}");
}

#[test]
fn a_canary_is_for_its_own_hosts_and_has_no_pin() {
    let canary = "apiVersion: flagger.app/v1beta1\nkind: Canary\nmetadata: {name: backend, namespace: prod}\n\
        spec: {service: {port: 80}, analysis: {interval: 1m, stepWeight: 10, maxWeight: 50, sessionAffinity: {cookieName: c}}}";
    let rollout = only(canary);
    assert!(rollout.contains("match: [{host: {in: [backend, backend.prod, backend.prod.svc, backend.prod.svc.cluster.local]}}]"), "{rollout}");
    assert!(!rollout.contains("pin:"), "{rollout}");
}

#[test]
fn a_weight_that_is_none_moves_nobody() {
    for weight in ["20%", "150", "-3", "${PERCENT}", "x", "1e400"] {
        let ingress = format!("kind: Ingress\nmetadata: {{name: a, annotations: {{nginx.ingress.kubernetes.io/canary: \"true\", nginx.ingress.kubernetes.io/canary-weight: \"{weight}\"}}}}\n");
        assert!(only(&ingress).contains("{name: canary, weight: 0}"), "{weight}");
        let page = text("a.yaml", ingress.as_bytes()).unwrap();
        assert!(page.contains(weight), "{page}");
    }
    let split = virtual_service(
        "{route: [{destination: {host: a}, weight: 90}, {destination: {host: b}, weight: -10}]}",
    );
    assert!(only(&split).contains("{name: b, weight: 0}"));
}

#[test]
fn a_value_cannot_write_configuration() {
    let name = "a\\n- name: evil\\n  weight: 80";
    let rollouts = rollouts(&format!("kind: Ingress\nmetadata: {{name: \"{name}\", annotations: {{nginx.ingress.kubernetes.io/canary: \"true\", evil: \"{name}\"}}}}\n"));
    assert_eq!(rollouts.len(), 1);
    assert_eq!(rollouts[0].get("versions").unwrap().items().len(), 2);
}

#[test]
fn merge_keys_are_followed_and_a_key_that_stands_twice_is_refused() {
    let merged = "x: &x {nginx.ingress.kubernetes.io/canary: \"true\", nginx.ingress.kubernetes.io/canary-weight: \"20\"}\n\
        kind: Ingress\nmetadata: {name: a, annotations: {<<: *x, nginx.ingress.kubernetes.io/canary-weight: \"30\"}}\n";
    assert!(only(merged).contains("{name: canary, weight: 30}"));
    let (place, why) = read_documents("a.yaml", b"a: 1\nb: 2\na: 3\n").unwrap_err();
    assert_eq!(
        (place.as_str(), why.as_str()),
        ("a.yaml:3:1", "found the key a twice (1 in line 1, 3 here), allowed: each key once")
    );
}

#[test]
fn flags_keep_their_users_where_they_can() {
    let flag = |weights: &str| {
        format!("{{\"flags\": {{\"a\": {{\"variants\": {{\"x\": 1, \"y\": 2, \"z\": 3}}, \"defaultVariant\": \"z\", \"targeting\": {{\"fractional\": {weights}}}}}}}}}")
    };
    assert!(only(&flag("[[\"x\", 1], [\"y\", 3]]")).contains("hashScheme: flagd"));
    assert!(!only(&flag("[[\"x\", 1], [\"y\", 2]]")).contains("hashScheme"));
    assert!(!only(&flag("[{\"var\": \"email\"}, [\"x\", 1], [\"y\", 1]]")).contains("hashScheme"));
}

#[test]
fn many_routes_in_front_of_a_split_leave_it_its_hosts() {
    let front: String = (0..80)
        .map(|n| format!("{{match: [{{uri: {{prefix: /a-rather-long-path-{n}}}}}], route: [{{destination: {{host: files}}}}]}}, "))
        .collect();
    let split =
        "{route: [{destination: {host: a}, weight: 9}, {destination: {host: b}, weight: 1}]}";
    let rollout = only(&virtual_service(&format!("{front}{split}")));
    assert!(rollout.contains("match: [{host: {exact: shop.example.com}}]"), "{rollout}");
}

#[test]
fn metric_templates_of_flagger_are_checks() {
    let rollout = only(
        "apiVersion: flagger.app/v1beta1\nkind: Canary\nmetadata: {name: shop, namespace: prod}\n\
         spec: {targetRef: {kind: Deployment, name: shop}, service: {port: 80}, analysis: {interval: 1m, threshold: 5, \
         maxWeight: 50, stepWeight: 10, metrics: [{name: Orders, templateRef: {name: orders, namespace: flagger}, \
         thresholdRange: {min: 3}, interval: 2m}]}}\n---\n\
         apiVersion: flagger.app/v1beta1\nkind: MetricTemplate\nmetadata: {name: orders, namespace: flagger}\n\
         spec: {provider: {type: prometheus, address: 'http://prometheus.monitoring:9090'}, \
         query: 'sum(rate(orders_total{namespace=\"{{ namespace }}\",pod=~\"{{ target }}-.*\"}[{{ interval }}]))'}\n",
    );
    let check = r#"analysis: [{name: orders, version: canary, cluster: "outbound|9090||prometheus.monitoring.svc.cluster.local", host: "prometheus.monitoring:9090", query: 'sum(rate(orders_total{namespace="prod",pod=~"shop-.*"}[2m]))', min: 3, interval: 1m, failures: 5}]"#;
    assert!(rollout.contains(check), "{rollout}");
}

#[test]
fn analysis_templates_of_argo_are_checks_with_their_headers_and_each_once() {
    let analysis = "{templates: [{templateName: rate}], args: [{name: service, value: orders}]}";
    let template = "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: rate, namespace: prod}\n\
         spec: {args: [{name: service}], metrics: [{name: success-rate, interval: 1m, failureLimit: 2, \
         successCondition: 'result[0] >= 0.95', provider: {prometheus: {address: 'http://prometheus.monitoring', timeout: 20, \
         headers: [{key: X-Scope-OrgID, value: shop}], query: 'a{service=\"{{args.service}}\"}'}}}]}\n";
    let rollout = only(&format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {{name: shop, namespace: prod}}\n\
         spec: {{strategy: {{canary: {{analysis: {analysis}, steps: [{{setWeight: 20}}, {{pause: {{duration: 10m}}}}, \
         {{analysis: {analysis}}}, {{setWeight: 40}}]}}}}}}\n---\n{template}"
    ));
    let check = r#"analysis: [{name: success-rate, version: canary, cluster: "outbound|80||prometheus.monitoring.svc.cluster.local", host: prometheus.monitoring, query: 'a{service="orders"}', min: 0.95, interval: 1m, failures: 3, timeout: 20s, requestHeaders: {X-Scope-OrgID: shop}}]"#;
    assert!(rollout.contains(check), "{rollout}");
}
