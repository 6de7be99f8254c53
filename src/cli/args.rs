//! The command line: subcommands, flags and their help.

use std::net::IpAddr;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::config;

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
    "cohort explain checkout.yaml --url https://shop.example.com/checkout -H 'cookie: uid=42; canary=always'",
    "cohort explain checkout.yaml -H 'x-user-id: 42' --at 2026-11-21T10:10:00Z --output json"
);

const SIMULATE_EXAMPLES: (&str, &str) = both!(
    "cohort simulate checkout.yaml",
    "cohort simulate checkout.yaml --keys 1000000 --against live.yaml",
    "cohort simulate checkout.yaml --keys-from users.txt --list",
    "cohort simulate checkout.yaml --at 2026-11-21T10:10:00Z --output json"
);

/// Check, explain and simulate the releases that cohort.wasm carries out in Envoy and Istio.
#[derive(Debug, Parser)]
#[command(name = "cohort", version, styles = STYLES, max_term_width = 100, disable_help_subcommand = true)]
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

    /// A file of keys, one a line.
    #[arg(long, value_name = "FILE", group = "population")]
    pub keys_from: Option<String>,

    /// Print a line for each key instead of a table.
    #[arg(long)]
    pub list: bool,

    /// The configuration that FILE would replace.
    #[arg(long, value_name = "OLD", conflicts_with = "list")]
    pub against: Option<String>,

    /// The time of the requests, as RFC 3339; now where it is not given.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<config::Millis>,

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

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    pub authority: String,
    /// Path and query.
    pub target: String,
}

fn url(text: &str) -> Result<Url, String> {
    let allowed = "a URL is http:// or https://, a host, and maybe a path and query";
    let (scheme, rest) = text.split_once("://").ok_or(allowed)?;
    if !["http", "https"].contains(&scheme) {
        return Err(allowed.into());
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.is_empty() || text.contains(char::is_whitespace) {
        return Err(allowed.into());
    }
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok(Url { scheme: scheme.into(), authority: authority.into(), target })
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is a name, a colon and a value")?;
    match crate::http::HeaderName::new(name.trim()) {
        Some(name) => Ok((name.as_str().to_owned(), value.trim().to_owned())),
        None => Err("the name of a header has letters, digits and hyphens".into()),
    }
}

fn method(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.bytes().all(crate::http::headers::is_token_byte);
    if good {
        Ok(text.to_owned())
    } else {
        Err("a method is one word".into())
    }
}

fn instant(text: &str) -> Result<config::Millis, String> {
    config::parse_instant(text).ok_or_else(|| "an instant is like 2026-11-21T10:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_url_is_cut_into_what_a_request_carries() {
        let parts =
            |text| url(text).map(|url| format!("{} {} {}", url.scheme, url.authority, url.target));
        assert_eq!(
            parts("https://a.example:8443/b?c=d#e").as_deref(),
            Ok("https a.example:8443 /b?c=d")
        );
        assert_eq!(parts("http://a.example").as_deref(), Ok("http a.example /"));
        assert_eq!(parts("http://[::1]?x=y").as_deref(), Ok("http [::1] /?x=y"));
        for bad in ["a.example/b", "ftp://a.example/", "https:///b", "https://a b/"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }
}
