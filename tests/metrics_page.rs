//! docs/metrics.md lists the metrics of the code, all of them and no others. `COHORT_BLESS=1` rewrites it.

use cohort::filter::metrics::ALL;

const BEGIN: &str = "<!-- made from src/filter/metrics.rs by `make docs` -->\n";
const END: &str = "<!-- end -->\n";

fn table() -> String {
    let mut table =
        String::from("| metric | kind | labels | what it counts |\n|---|---|---|---|\n");
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let help = metric.help.split_whitespace().collect::<Vec<_>>().join(" ");
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let (name, labels) = (metric.full_name(), labels.join(", "));
        table.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
    table
}

#[test]
fn the_page_of_metrics_is_the_table_in_the_code() {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let page = std::fs::read_to_string(place).expect("docs/metrics.md");
    let (before, rest) = page.split_once(BEGIN).expect("the beginning of the table");
    let (now, after) = rest.split_once(END).expect("the end of the table");
    if std::env::var_os("COHORT_BLESS").is_some() {
        let page = format!("{before}{BEGIN}{}{END}{after}", table());
        return std::fs::write(place, page).expect("docs/metrics.md");
    }
    assert_eq!(now, table(), "make docs rewrites it");
}

#[test]
fn no_metric_is_listed_twice_and_every_name_says_its_kind() {
    let mut names: Vec<String> = ALL.iter().map(|metric| metric.full_name()).collect();
    for metric in ALL {
        let is_counter = format!("{:?}", metric.kind) == "Counter";
        assert_eq!(metric.full_name().ends_with("_total"), is_counter, "{}", metric.full_name());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}
