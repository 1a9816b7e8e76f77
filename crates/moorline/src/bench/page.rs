//! The report as a page: one file without scripts, which loads nothing.

mod charts;
mod markup;
mod plot;

use hdrhistogram::Histogram;

use super::compare::Comparison;
use super::report::{Report, Shown, ShownMemory, ShownRates};
use super::saved::Saved;
use super::time::Time;
use markup::{Escaped, decimal, facts, number, table};

const STYLE: &str = include_str!("page/page.css");

/// The page of a run.
pub(super) fn of_run(saved: &Saved) -> String {
    let results = &saved.results;
    let latency = saved.latency();
    let mut body = head(
        &format!("{} {}", results.mode, results.target),
        &subtitle(results),
    );
    body += "<main>";
    body += &wrong(results);
    body += &match &results.outcome {
        Shown::Rates(rates) => cards(&of_rates(rates, &latency)),
        Shown::Memory(memory) => cards(&of_memory(memory)),
    };
    if !latency.is_empty() {
        body += &charts::histogram(&[&latency]).into_html();
        body += &charts::percentiles(&[&latency]).into_html();
    }
    if let Some(intervals) = &saved.intervals {
        let total = results.duration_s;
        body += &charts::throughput(&[(intervals, total)]).into_html();
        body += &charts::slowest(&[(intervals, total)]).into_html();
        if results.errors.total > 0 {
            body += &charts::errors(intervals, total).into_html();
        }
    }
    body += "<section><h2>The run</h2>";
    body += &facts(&about(saved));
    body += "</section></main>";
    document(&format!("{} {}", results.mode, results.target), &body)
}

/// The page of two runs.
pub(super) fn of_two(comparison: &Comparison) -> String {
    let [a, b] = &comparison.runs;
    let mut body = head("A compared with B", "A ratio over 1 says that B has more.");
    body += "<main>";
    let rows: Vec<Vec<String>> = comparison
        .rows()
        .iter()
        .map(|row| row.cells().into())
        .collect();
    body += "<section><h2>Figures</h2>";
    body += &table("Figures", &["", "A", "B", "B / A"], &rows);
    let unlike = comparison.differences();
    if !unlike.is_empty() {
        body += "<p class=\"bad\">The runs are not alike:</p><ul class=\"wrong\">";
        for line in unlike {
            body += &format!("<li>{}</li>", Escaped(line));
        }
        body += "</ul>";
    }
    body += "</section>";
    let latencies = [a.latency(), b.latency()];
    if !latencies.iter().all(Histogram::is_empty) {
        let latencies = [&latencies[0], &latencies[1]];
        body += &charts::histogram(&latencies).into_html();
        body += &charts::percentiles(&latencies).into_html();
    }
    if let (Some(first), Some(second)) = (&a.intervals, &b.intervals) {
        let runs = [
            (first, a.results.duration_s),
            (second, b.results.duration_s),
        ];
        body += &charts::throughput(&runs).into_html();
        body += &charts::slowest(&runs).into_html();
    }
    for (saved, name) in comparison.runs.iter().zip(charts::NAMES) {
        body += &format!(
            "<section><h2>Run {name}</h2>{}</section>",
            facts(&about(saved))
        );
    }
    body += "</main>";
    document("two runs of moorline bench", &body)
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n{body}\n</html>\n",
        Escaped(title)
    )
}

fn head(title: &str, subtitle: &str) -> String {
    format!(
        "<header><h1>{}</h1><p class=\"dim\">{}</p></header>\n",
        Escaped(title),
        Escaped(subtitle)
    )
}

fn subtitle(results: &Report) -> String {
    format!(
        "{} connections, {}-byte messages ({}), {} s{}",
        number(results.connections.into()),
        number(results.size_bytes as u64),
        results.framing,
        decimal(results.duration_s),
        match results.is_interrupted {
            true => ", interrupted",
            false => "",
        }
    )
}

/// Errors, and what did not go by the clock.
fn wrong(results: &Report) -> String {
    let mut lines = Vec::new();
    if results.errors.total > 0 {
        let kinds = results.errors.by_kind.iter();
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{} {kind}", number(*count)))
            .collect();
        let total = number(results.errors.total);
        lines.push(format!("{total} errors: {}", kinds.join(", ")));
        lines.extend(results.errors.examples.iter().cloned());
    }
    if let Shown::Rates(ShownRates {
        pace: Some(pace), ..
    }) = &results.outcome
    {
        let troubles = pace
            .troubles()
            .map(|(count, what)| format!("{} requests were {what}", number(count)));
        lines.extend(troubles);
    }
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines
        .iter()
        .map(|line| format!("<li>{}</li>", Escaped(line)))
        .collect();
    format!("<ul class=\"wrong\" aria-label=\"What is wrong\">{items}</ul>\n")
}

/// A figure: its name, its value, a remark.
type Card = (&'static str, String, String);

fn cards(cards: &[Card]) -> String {
    let card = |(name, value, note): &Card| {
        format!(
            "<div class=\"card\"><span class=\"dim\">{}</span><b>{}</b><span class=\"dim\">{}</span></div>",
            Escaped(name),
            Escaped(value),
            Escaped(note)
        )
    };
    let cards: String = cards.iter().map(card).collect();
    format!("<section aria-label=\"Figures\"><div class=\"cards\">{cards}</div></section>\n")
}

fn of_rates(rates: &ShownRates, latency: &Histogram<u64>) -> Vec<Card> {
    let within = |part: f64| Time(latency.value_at_quantile(part) as f64 / 1000.0).to_string();
    let asked = rates.pace.as_ref().map_or_else(
        || "as fast as answers came".to_owned(),
        |pace| format!("asked for {}", number(pace.requests_per_second.into())),
    );
    let none = String::new;
    let mut cards = vec![
        (
            "requests a second",
            decimal(rates.requests_per_second),
            asked,
        ),
        ("answers", number(rates.requests), none()),
        ("half within", within(0.5), "p50".to_owned()),
        ("99 % within", within(0.99), "p99".to_owned()),
        ("99.9 % within", within(0.999), "p99.9".to_owned()),
        ("slowest", within(1.0), none()),
    ];
    if let Some(spent) = rates.server_cpu_us_per_request {
        cards.push((
            "server's CPU time",
            Time(spent).to_string(),
            "for a request".to_owned(),
        ));
    }
    let spent = Time(rates.load_cpu_us_per_request).to_string();
    cards.push(("load's CPU time", spent, "for a request".to_owned()));
    cards
}

fn of_memory(memory: &ShownMemory) -> Vec<Card> {
    let none = String::new;
    let kib = |bytes: u64| format!("{} KiB", number(bytes / 1024));
    let mut cards = vec![("sessions", number(memory.sessions), none())];
    if let (Some(before), Some(after)) = (
        memory.server_private_bytes_before,
        memory.server_private_bytes_after,
    ) {
        cards.push(("memory before", kib(before), none()));
        cards.push(("memory with them", kib(after), none()));
    }
    if let Some(each) = memory.server_bytes_per_session {
        cards.push(("bytes for a session", decimal(each), none()));
    }
    cards
}

/// How and where a run was made.
fn about(saved: &Saved) -> Vec<(&'static str, String)> {
    let machine = &saved.machine;
    vec![
        ("command", saved.command.clone()),
        ("began", saved.began.clone()),
        ("program", format!("moorline {}", saved.moorline)),
        (
            "processor",
            format!("{} ({} CPUs)", machine.cpu, machine.cpus),
        ),
        (
            "memory",
            format!("{} MiB", number(machine.memory_bytes >> 20)),
        ),
        ("system", machine.system.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::saved::tests::{saved, value};
    use super::*;

    #[test]
    fn texts_of_a_file_are_no_markup() {
        let mut value = value();
        let markup = "<script>alert(1)</script>\"'&";
        for path in [
            "/command",
            "/began",
            "/moorline",
            "/machine/cpu",
            "/machine/system",
            "/results/mode",
            "/results/target",
            "/results/framing",
            "/results/errors/examples/0",
        ] {
            *value.pointer_mut(path).unwrap() = json!(markup);
        }
        value["results"]["errors"]["by_kind"] = json!({ (markup): 1 });
        let run = saved(&value);
        let comparison = Comparison {
            runs: [run.clone(), run.clone()],
        };
        for page in [of_run(&run), of_two(&comparison)] {
            assert!(
                !page.contains("<script") && !page.contains("\"'&"),
                "{page}"
            );
            assert!(page.contains("&lt;script&gt;"));
        }
    }

    #[test]
    fn numbers_of_a_file_make_no_chart_impossible() {
        let mut value = value();
        value["results"]["duration_s"] = json!(0.0);
        value["results"]["requests_per_second"] = json!(-1e308);
        value["intervals"]["parts"][0]["slowest_us"] = json!(1e308);
        value["intervals"]["parts"][1]["answers"] = json!(u64::MAX);
        value["latency_ns"] = json!([[0, 1], [u64::MAX, u64::MAX - 1]]);
        let page = of_run(&saved(&value));
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        value["latency_ns"] = json!([]);
        value["intervals"] = json!(null);
        assert!(of_run(&saved(&value)).contains("The run"));
    }
}
