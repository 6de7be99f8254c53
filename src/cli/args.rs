//! The command line: subcommands, flags and their help.

use std::net::IpAddr;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::bucket::Weight;
use crate::config;

use super::values::{header, instant, method, url, version_text, version_weight, Url};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default())
    .error(AnsiColor::Red.on_default().bold());

/// Help below the options: examples, and with `--help` what a FILE may be.
macro_rules! help {
    ($($example:literal),+) => {
        concat!("Examples:", $("\n  ", $example),+)
    };
    (files $($example:literal),+) => {
        concat!(
            help!($($example),+),
            "\n\nFILE is one of\n  \
             - a configuration, as JSON or YAML\n  \
             - an Istio WasmPlugin or TrafficExtension manifest, also among other manifests\n  \
             - an Envoy Gateway EnvoyExtensionPolicy\n  \
             - an Envoy bootstrap, listener, filter or extension configuration\n  \
             - standard input, as -\n\
             The configuration of this filter is found inside; other plugins are passed over."
        )
    };
}

/// The help for `-h` and for `--help`.
macro_rules! both {
    ($($example:literal),+ $(,)?) => {
        (help!($($example),+), help!(files $($example),+))
    };
}

const VALIDATE_EXAMPLES: (&str, &str) = both!(
    "cohort validate checkout.yaml",
    "cohort validate envoy/*.yaml istio/wasmplugin.yaml",
    "cohort validate deploy/",
    "kubectl get wasmplugins -A -o yaml | cohort validate -"
);

const EXPLAIN_EXAMPLES: (&str, &str) = both!(
    "cohort explain checkout.yaml -H 'x-user-id: 42'",
    "cohort explain checkout.yaml --url https://shop.example.com/cart \\\n      -H 'cookie: uid=42; canary=always'",
    "cohort explain checkout.yaml -H 'x-user-id: 42' \\\n      --at 2026-11-21T10:10:00Z --output json"
);

const SIMULATE_EXAMPLES: (&str, &str) = both!(
    "cohort simulate checkout.yaml",
    "cohort simulate checkout.yaml --keys 1000000 --against live.yaml",
    "cohort simulate checkout.yaml --keys-from users.txt --list",
    "cohort simulate checkout.yaml --keys-from users.csv --column id \\\n      --against live.yaml --list",
    "cohort simulate checkout.yaml --at 2026-11-21T10:10:00Z --output json"
);

const STATUS_EXAMPLES: &str = help!(
    "cohort status http://localhost:9901 --watch",
    "kubectl exec deploy/gateway -c istio-proxy -- \\\n      pilot-agent request GET stats/prometheus | cohort status -"
);

const SET_EXAMPLES: (&str, &str) = both!(
    "cohort set checkout.yaml checkout canary=25",
    "cohort set checkout.yaml checkout canary=5 --revision canary=2.4.1",
    "cohort set checkout.yaml checkout --disable",
    "cohort set checkout.yaml checkout canary=0 --dry-run"
);

/// Check, explain and simulate the releases that cohort.wasm carries out in Envoy and Istio.
#[derive(Debug, Parser)]
#[command(name = "cohort", version, styles = STYLES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// When to use colour: `auto` is on a terminal only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts: one JSON object a line, stable.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Validate(Validate),
    Explain(Explain),
    Simulate(Simulate),
    Migrate(Migrate),
    Early(Early),
    Schema(Schema),
    Set(Set),
    Status(Status),
    /// Print completions for a shell.
    #[command(after_help = "Examples:\n  cohort completions bash > /etc/bash_completion.d/cohort")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(after_help = "Examples:\n  cohort man > /usr/local/share/man/man1/cohort.1")]
    Man,
}

/// Check configurations, and say all that is wrong with them.
///
/// Prints a line on standard output for each configuration that is good, and on standard error a line
/// for each problem, as FILE:LINE:COLUMN: PATH: found WHAT, allowed: WHAT, and for each warning.
/// Warnings are what is legal but surely not meant.
///
/// Exits with 0 if all are good, 1 if there is a problem, 2 if a file could not be read or has no
/// configuration of this filter in it.
#[derive(Args, Debug)]
#[command(after_help = VALIDATE_EXAMPLES.0, after_long_help = VALIDATE_EXAMPLES.1)]
pub struct Validate {
    /// The files to check, or folders: every YAML and JSON file below.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,

    /// The time that warnings about a ramp assume, as RFC 3339; now where it is not given.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<config::Millis>,

    /// The form of what is printed.
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub output: Output,
}

/// Say which version a request gets, and why, step by step.
///
/// Asks the same code that runs in the proxy, and prints what each step looked at and saw.
#[derive(Args, Debug)]
#[command(after_help = EXPLAIN_EXAMPLES.0, after_long_help = EXPLAIN_EXAMPLES.1)]
pub struct Explain {
    /// The configuration.
    #[arg(value_name = "FILE")]
    pub file: String,

    /// The method of the request.
    #[arg(long, value_name = "METHOD", default_value = "GET", value_parser = method)]
    pub method: String,

    /// What is asked for: scheme, host, path and query.
    #[arg(long, value_name = "URL", default_value = "https://localhost/", value_parser = url)]
    pub url: Url,

    /// A header of the request, cookies too; as often as needed.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,

    /// The client's address, as the proxy trusts it.
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,

    /// The SPIFFE id in the certificate that the peer showed.
    #[arg(long, value_name = "SPIFFE-ID")]
    pub principal: Option<String>,

    /// The time of the request, as RFC 3339; now where it is not given.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<config::Millis>,

    /// The form of what is printed.
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub output: Output,
}

/// Put many keys through every rollout, and count who gets which version.
///
/// Asks the same code that runs in the proxy, with requests that carry a key and nothing else. With
/// --against it says who would move from where to where if OLD were replaced by FILE.
#[derive(Args, Debug)]
#[command(after_help = SIMULATE_EXAMPLES.0, after_long_help = SIMULATE_EXAMPLES.1, group = ArgGroup::new("population"))]
pub struct Simulate {
    /// The configuration.
    #[arg(value_name = "FILE")]
    pub file: String,

    /// How many made-up keys: user-0, user-1 and so on.
    #[arg(long, value_name = "N", default_value = "100000", group = "population",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub keys: u64,

    /// A file of keys, one a line, or in a column of a CSV.
    #[arg(long, value_name = "FILE", group = "population")]
    pub keys_from: Option<String>,

    /// The column of the CSV: its name in the first line, or its number, from 1, where no line has names.
    #[arg(long, value_name = "COLUMN", requires = "keys_from")]
    pub column: Option<String>,

    /// Print a line for each key instead of a table; with --against for each that moves.
    #[arg(long)]
    pub list: bool,

    /// The configuration that FILE would replace.
    #[arg(long, value_name = "OLD")]
    pub against: Option<String>,

    /// The time of the requests, as RFC 3339; now where it is not given.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<config::Millis>,

    /// The form of what is printed.
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub output: Output,
}

/// Change weights, revisions and the kill switch in place.
///
/// Every comment and blank of the file stays as it is. The new file is written beside the old one and
/// renamed into place, so that a proxy that watches it sees one change. What validate refuses is refused
/// here, and the file is left alone. Prints who moves, out of 10,000 made-up users.
///
/// A weight for stable is not written, because stable gets what the others leave; it has to fit. With -
/// as FILE the changed text goes to standard output.
///
/// Exits with 0 if the file says what was asked for, 1 if the result would have a problem, 2 if there is
/// no such file, rollout or version.
#[derive(Args, Debug)]
#[command(after_help = SET_EXAMPLES.0, after_long_help = SET_EXAMPLES.1, group = ArgGroup::new("change").required(true).multiple(true).args(["weights", "revision", "enable", "disable"]))]
pub struct Set {
    /// The file to change.
    #[arg(value_name = "FILE")]
    pub file: String,

    /// The rollout's name.
    #[arg(value_name = "ROLLOUT")]
    pub rollout: String,

    /// A version and its new weight in percent; as often as needed.
    #[arg(value_name = "VERSION=WEIGHT", value_parser = version_weight)]
    pub weights: Vec<(String, Weight)>,

    /// What runs under the version's name now, such as an image's tag; as often as needed.
    #[arg(long, value_name = "VERSION=TEXT", value_parser = version_text)]
    pub revision: Vec<(String, String)>,

    /// Turn the rollout on.
    #[arg(long, conflicts_with = "disable")]
    pub enable: bool,

    /// Turn the rollout off: everybody gets stable.
    #[arg(long)]
    pub disable: bool,

    /// Print what would change, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Show what a running proxy does, from its metrics.
///
/// For each version: the weight that is asked for and the one in force, the share of requests that it got,
/// its rate, failures and durations, whether it is held out and why. A URL is that of Envoy's admin port; with
/// a path it is read as it is. A file or - is a scrape. What is asked for is known from an admin port only.
///
/// Exits with 0 if all is well, 1 if something wants a person (no valid configuration, one that was refused,
/// a version held out, a check that fails), 2 if there are no metrics of this filter.
#[derive(Args, Debug)]
#[command(after_help = STATUS_EXAMPLES)]
pub struct Status {
    /// Where the metrics are: a URL, a file, or - for standard input.
    #[arg(value_name = "URL|FILE|-", default_value = "http://localhost:9901")]
    pub source: String,

    /// Look again every second, until Ctrl-C; what is shown is of the last ten seconds.
    #[arg(long)]
    pub watch: bool,

    /// End --watch after so many looks.
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,

    /// The form of what is printed.
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub output: Output,
}

/// Turn what you have today into a configuration.
///
/// Reads Ingresses with ingress-nginx canary annotations, Flagger Canaries, Argo Rollouts,
/// VirtualServices, HTTPRoutes, TrafficSplits, TraefikServices, HTTPProxies and Envoy route tables with
/// weights, Higress traffic-tag configurations, and flags of flagd and Unleash. Give all the files of one
/// service together: a DestinationRule names the key, the main Ingress names the stable service.
///
/// Prints YAML documents: the configuration first, then the routes that it needs. Comments say what
/// changes, and name what cannot be carried over. Nobody moves by it: a ramp waits until you set its start.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cohort migrate ingress.yaml > checkout.yaml
  kubectl get canary checkout -o yaml | cohort migrate - | cohort validate -")]
pub struct Migrate {
    /// The files to read; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
}

/// Print what makes the proxy remove the output headers that clients send.
///
/// The proxy chooses a first route before any filter runs, and all of its routes when the filter is not
/// there. What is printed removes the headers before both: an EnvoyFilter for a WasmPlugin or
/// TrafficExtension, a ClientTrafficPolicy for an EnvoyExtensionPolicy, and for a plain or Envoy
/// configuration the lines to add to the connection manager.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cohort early wasmplugin.yaml | kubectl apply -f -
  cohort early policy.yaml httproute.yaml > client-traffic-policy.yaml")]
pub struct Early {
    /// The files to read; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
}

/// Print the JSON Schema of the configuration.
///
/// With it an editor completes and checks a configuration. In a YAML file, for editors with the
/// YAML language server, the first line is `# yaml-language-server: $schema=./cohort.schema.json`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cohort schema > cohort.schema.json
  cohort schema --admission-policy | kubectl apply --server-side -f -")]
pub struct Schema {
    /// Print a Kubernetes ValidatingAdmissionPolicy instead, by which the API server refuses bad
    /// configurations.
    #[arg(long)]
    pub admission_policy: bool,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
