//! `cohort status`: what a running proxy does, from its metrics.

mod picture;
mod scrape;
mod table;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::args::{Output, Status};
use super::source;
use super::style::{paint, plain, BAD, FAINT};
use super::Exit;
use crate::engine::split_in_force;

use picture::{wants, Picture};
use scrape::Scrape;

/// How long one look is after another.
const PERIOD: Duration = Duration::from_secs(1);

/// Over how many looks `--watch` counts.
const LOOKS: usize = 10;

/// The longest that an answer of the proxy is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read.
const LIMIT: u64 = 64 << 20;

/// Percent by rollout and version that the proxy's configuration asks for now.
pub type Asked = BTreeMap<(String, String), f64>;

pub fn run(args: &Status, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    if args.watch && args.source == "-" {
        writeln!(
            err,
            "{} standard input is read once, allowed: --watch with a URL or a file",
            paint(BAD, "cohort:")
        )?;
        return Ok(Exit::Unreadable);
    }
    let redraws = args.watch && args.output == Output::Text && io::stdout().is_terminal();
    let mut looks: VecDeque<(Instant, Scrape)> = VecDeque::new();
    let mut count = 0;
    loop {
        let began = Instant::now();
        let look = match (look(&args.source), args.watch, looks.is_empty()) {
            // For the rate it takes two, where the proxy can be asked twice.
            (Ok(first), false, true) if is_url(&args.source) => {
                looks.push_back((began, first));
                thread::sleep(PERIOD);
                self::look(&args.source)
            }
            (look, ..) => look,
        };
        count += 1;
        let is_last = !args.watch || args.count.is_some_and(|most| count >= most);
        if redraws {
            write!(out, "\u{1b}[H\u{1b}[J")?;
        }
        let exit = match look {
            Ok(scrape) => {
                looks.push_back((Instant::now(), scrape));
                if looks.len() > LOOKS {
                    looks.pop_front();
                }
                show(args, &looks, out)?
            }
            Err(why) => {
                looks.clear();
                let say: &mut dyn Write = if args.watch { out } else { err };
                writeln!(say, "{} {}: {why}", paint(BAD, "cohort:"), plain(&args.source))?;
                Exit::Unreadable
            }
        };
        out.flush()?;
        if is_last {
            return Ok(exit);
        }
        thread::sleep(PERIOD.saturating_sub(began.elapsed()));
        if args.output == Output::Text && !redraws {
            writeln!(out)?;
        }
    }
}

fn show(
    args: &Status,
    looks: &VecDeque<(Instant, Scrape)>,
    out: &mut dyn Write,
) -> io::Result<Exit> {
    let (Some((newest, now)), Some((oldest, before))) = (looks.back(), looks.front()) else {
        return Ok(Exit::Unreadable);
    };
    let since = Some(before).filter(|_| looks.len() > 1);
    let seconds = match since {
        Some(_) => Some(newest.duration_since(*oldest).as_secs_f64()),
        None => now.uptime,
    };
    let recent = Picture::of(now, since);
    // One look says what was since the proxy started, and --watch what was of late.
    let picture = if args.watch { Picture::of(now, since) } else { Picture::of(now, None) };
    let asked = asked(&args.source);
    let wants = wants(&picture);
    let view = table::View { picture: &picture, recent: &recent, seconds, asked: &asked };
    match args.output {
        Output::Json => view.json(out)?,
        Output::Text => {
            let what = match (args.watch, looks.len()) {
                (true, 2..) => {
                    format!("of the last {:.0} s", newest.duration_since(*oldest).as_secs_f64())
                }
                _ => "since the proxy started".to_owned(),
            };
            writeln!(out, "{}", paint(FAINT, format!("{}, {what}", plain(&args.source))))?;
            view.text(&wants, out)?;
        }
    }
    Ok(if wants.is_empty() { Exit::Good } else { Exit::Problems })
}

fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// One scrape; else why there is none.
fn look(source: &str) -> Result<Scrape, String> {
    let bytes = if is_url(source) {
        get(&metrics_url(source))?
    } else {
        source::bytes(source).map_err(|why| why.to_string())?
    };
    let scrape = scrape::read(&String::from_utf8_lossy(&bytes));
    if scrape.samples.is_empty() {
        return Err("found no metrics of this filter, allowed: what a proxy answers at \
                    /stats/prometheus"
            .into());
    }
    Ok(scrape)
}

/// The address of the metrics: the one that is given if it has a path, else where Envoy has them.
fn metrics_url(source: &str) -> String {
    match base(source) {
        Some(base) => format!("{base}/stats/prometheus"),
        None => source.to_owned(),
    }
}

/// The address of an admin port; `None` where a path says what is meant.
fn base(source: &str) -> Option<&str> {
    let (_, rest) = source.split_once("://")?;
    let trimmed = source.trim_end_matches('/');
    (!rest.trim_end_matches('/').contains('/')).then_some(trimmed)
}

fn get(url: &str) -> Result<Vec<u8>, String> {
    if url.starts_with("https://") {
        return Err("found https, allowed: http://, as an admin port has it".into());
    }
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
    let mut answer = agent.get(url).call().map_err(|error| error.to_string())?;
    let body = answer.body_mut().with_config().limit(LIMIT);
    body.read_to_vec().map_err(|error| error.to_string())
}

/// What the configuration of a proxy asks for, where its admin port tells.
fn asked(source: &str) -> Asked {
    let mut asked = Asked::new();
    let dump = base(source).filter(|_| is_url(source)).and_then(|base| {
        let bytes = get(&format!("{base}/config_dump")).ok()?;
        source::documents("config_dump.json", &bytes).ok()
    });
    let now = super::now();
    let configs = dump.iter().flatten().filter_map(|document| document.config.as_ref().ok());
    for rollout in configs.flat_map(|config| &config.rollouts) {
        let split = split_in_force(rollout, now, None);
        for (position, version) in rollout.versions.iter().enumerate() {
            let share = match rollout.enabled {
                true => split.weight(position).percent(),
                false if position == rollout.stable => 100.0,
                false => 0.0,
            };
            asked.insert((rollout.name.clone(), version.name.clone()), share);
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_is_that_of_an_admin_port() {
        for url in ["http://localhost:9901", "http://localhost:9901/"] {
            assert_eq!(metrics_url(url), "http://localhost:9901/stats/prometheus");
        }
        let whole = "http://localhost:15020/stats/prometheus";
        assert_eq!((metrics_url(whole).as_str(), base(whole)), (whole, None));
    }
}
