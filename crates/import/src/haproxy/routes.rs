//! `use_backend`, and `tcp-request content` that asks for more than the client's address: where connections go.

use std::collections::BTreeSet;

use super::acl::{Acls, EMPTY, Subject};
use super::client_rules::{Stage, regions};
use super::condition::{Branch, Condition, condition};
use super::expression::{Computed, computed, is_computed};
use super::map_names::MapNames;
use super::proxy::Proxy;
use super::sample::Naming;
use crate::note::{Place, Report, Reported};
use crate::toml::{Entry, Table, Value, key};

/// A rule `use_backend`, or what stands for all connections without one.
struct BackendRule<'a> {
    /// A name, or a text that becomes one.
    backend: String,
    /// What that text needs.
    maps: Vec<Table>,
    asks_hello: bool,
    condition: Condition,
    place: &'a Place,
}

/// Where the connections of a frontend go.
pub(super) struct Routes {
    /// The value of `upstream`.
    pub(super) upstream: Entry,
    pub(super) maps: Vec<Table>,
    /// Whether that depends on the client's hello.
    pub(super) asks_hello: bool,
}

/// Reads the rules of a frontend. `default`: where all else goes. `contents`: which connections go anywhere.
pub(super) fn routes(
    proxy: Proxy<'_>,
    default: Option<(&str, &Place)>,
    contents: &Stage,
    acls: &mut Acls<'_>,
    names: &mut MapNames,
    report: &mut Report,
) -> Result<Routes, Reported> {
    let mut rules = rules(proxy, default, acls, names, report)?;
    let (name, head) = (proxy.section.name(), &proxy.section.head);
    // Rules behind one that always holds have no effect.
    let last = rules.iter().position(|it| it.condition.is_always());
    if let Some(at) = last {
        rules.truncate(at + 1);
    }
    let mut maps: Vec<Table> = rules.iter_mut().flat_map(|it| it.maps.drain(..)).collect();
    let is_computed_by_hello = rules.iter().any(|it| it.asks_hello);
    let (rules, default) = match last {
        Some(at) => (&rules[..at], Some((&*rules[at].backend, rules[at].place))),
        None => (&rules[..], default),
    };
    let default_name = default.map_or("", |(backend, _)| backend);
    let by_text = by_text(rules, default_name, acls);
    // Without a default a client without a hello goes nowhere anyway.
    let by_hello = by_text.is_some() && rules.iter().all(|it| it.condition.asks_hello(acls));
    let only_hellos = contents.only_hellos(acls) && default.is_none() && by_hello;
    let refuses = contents.rejects() && !only_hellos;
    if rules.iter().all(|it| it.condition.0.is_empty()) && !refuses {
        let Some((backend, place)) = default else {
            return Err(head.refuse(report, format!("{name} has no `default_backend`")));
        };
        return Ok(Routes {
            upstream: Entry::new("upstream", Value::text(backend), place),
            maps,
            asks_hello: is_computed_by_hello,
        });
    }
    let mut table = Table::new(format!("[map.{}]", key(name)), Some(&head.place));
    let by_one = match refuses {
        false => by_network(rules, default_name, acls).or(by_text),
        true => None,
    };
    match by_one {
        Some(entries) => table.extend(entries),
        None => {
            let contents = refuses.then_some(contents);
            let (entries, tests) = by_tests(name, rules, default_name, contents, acls, names);
            table.extend(entries);
            maps.extend(tests);
        }
    }
    maps.push(table);
    let place = rules.first().map_or(&head.place, |it| it.place);
    let text = Value::text(format!("${{map.{name}}}"));
    let contents = contents.0.iter().filter(|_| contents.rejects());
    let contents = contents.map(|it| &it.condition);
    let mut asked = rules.iter().map(|it| &it.condition).chain(contents);
    Ok(Routes {
        upstream: Entry::new("upstream", text, place),
        maps,
        asks_hello: is_computed_by_hello || asked.any(|it| it.asks_hello(acls)),
    })
}

fn rules<'a>(
    proxy: Proxy<'a>,
    default: Option<(&str, &Place)>,
    acls: &mut Acls<'_>,
    names: &mut MapNames,
    report: &mut Report,
) -> Result<Vec<BackendRule<'a>>, Reported> {
    let backends = names.backends.clone();
    let mut rules = Vec::new();
    let mut result = Ok(());
    for line in proxy.own(&["use_backend"]) {
        let words = line.words.get(2..).unwrap_or_default();
        let condition = condition(line, words, acls, report);
        let naming = Naming {
            line,
            frontend: proxy.section.name(),
            backends: &backends,
            default: default.map_or("", |(name, _)| name),
        };
        let computed = match is_computed(line.word(1)) {
            true => computed(&naming, acls, names, report),
            false => Ok(Computed::plain(line.word(1))),
        };
        match (condition, computed) {
            (Ok(condition), Ok(computed)) => rules.push(BackendRule {
                backend: computed.text,
                maps: computed.maps,
                asks_hello: computed.asks_hello,
                condition,
                place: &line.place,
            }),
            (Err(reported), _) | (_, Err(reported)) => result = Err(reported),
        }
    }
    result.map(|()| rules)
}

type Pairs = Vec<(Value, Option<Place>)>;

fn pair(from: &str, to: &str, place: Option<&Place>) -> (Value, Option<Place>) {
    let pair = [Value::text(from), Value::text(to)];
    (Value::List(pair.into()), place.cloned())
}

/// The entries of a map by the client's address, if no rule asks for anything else.
fn by_network(rules: &[BackendRule<'_>], default: &str, acls: &Acls<'_>) -> Option<Vec<Entry>> {
    let mut literals = rules.iter().flat_map(|it| &it.condition.0).flatten();
    let is_client = |at: usize| acls.tests[at].subject == Subject::Client;
    if !literals.all(|it| is_client(it.test)) {
        return None;
    }
    let (outside, inside) = regions(acls).values(acls.tests.len(), |tests| {
        let rule = rules.iter().find(|it| it.condition.holds(tests));
        rule.map_or(default, |it| &it.backend)
    });
    let pairs: Pairs = inside
        .iter()
        .map(|(network, backend)| pair(network, backend, None))
        .collect();
    Some(vec![
        Entry::default("kind", Value::text("network")),
        Entry::default("from", Value::text("${client.address}")),
        Entry::default("default", Value::text(outside)),
        Entry::default("values", Value::Lines(pairs)),
    ])
}

/// The entries of a map by one text: patterns in the order of the rules.
fn by_text(rules: &[BackendRule<'_>], default: &str, acls: &Acls<'_>) -> Option<Vec<Entry>> {
    let mut pairs = Pairs::new();
    let mut keys = BTreeSet::new();
    let mut subject = None;
    for rule in rules {
        for test in rule.condition.any()? {
            let test = &acls.tests[test];
            if test.subject.is_address() || *subject.get_or_insert(test.subject) != test.subject {
                return None;
            }
            // The first rule counts.
            if test.has_empty() && keys.insert(EMPTY) {
                pairs.insert(0, pair(EMPTY, default, None));
            }
            let new = test.keys.iter().filter(|it| keys.insert(it.as_str()));
            pairs.extend(new.map(|it| pair(it, &rule.backend, Some(rule.place))));
        }
    }
    Some(vec![
        Entry::default("from", Value::text(subject?.variable())),
        Entry::default("default", Value::text(default)),
        Entry::default("values", Value::Lines(pairs)),
    ])
}

/// The entries of a map by the outcomes of all tests, each a letter of the text that is looked up, and the maps of these tests.
fn by_tests(
    name: &str,
    rules: &[BackendRule<'_>],
    default: &str,
    contents: Option<&Stage>,
    acls: &Acls<'_>,
    names: &mut MapNames,
) -> (Vec<Entry>, Vec<Table>) {
    let routed = rules.iter().map(|it| &it.condition);
    let refused = contents.into_iter().flat_map(|it| &it.0);
    let conditions = routed.chain(refused.map(|it| &it.condition));
    let literals = conditions.flat_map(|it| it.0.iter().flatten());
    let used: BTreeSet<usize> = literals.map(|it| it.test).collect();
    let used: Vec<usize> = used.into_iter().collect();
    let mut from = String::new();
    let mut maps = Vec::new();
    for test in &used {
        let test = &acls.tests[*test];
        let name = names.add(name, test.name.as_deref());
        from.push_str(&format!("${{map.{name}}}"));
        maps.push(test.table(&name));
    }
    let mut pairs = Pairs::new();
    // What contents refuse goes nowhere; what they accept goes on to the rules.
    if let Some(contents) = contents {
        let own = names.add(name, Some("content"));
        let rules = contents.0.iter().flat_map(|rule| {
            let verdict = if rule.accepts { "1" } else { "0" };
            let branches = rule.condition.0.iter();
            branches.map(|it| pair(&letters("", it, &used), verdict, Some(&rule.place)))
        });
        let mut table = Table::new(format!("[map.{}]", key(&own)), None);
        table.push(Entry::default("from", Value::text(&*from)));
        table.push(Entry::default("default", Value::text("1")));
        table.push(Entry::default("values", Value::Lines(unique(rules))));
        maps.push(table);
        from = format!("${{map.{own}}}{from}");
        pairs.push(pair("~^0", "", None));
    }
    let begin = if contents.is_some() { "." } else { "" };
    let routed = rules.iter().flat_map(|rule| {
        let branches = rule.condition.0.iter();
        branches.map(|it| pair(&letters(begin, it, &used), &rule.backend, Some(rule.place)))
    });
    pairs.extend(unique(routed));
    let entries = vec![
        Entry::default("from", Value::text(from)),
        Entry::default("default", Value::text(default)),
        Entry::default("values", Value::Lines(pairs)),
    ];
    (entries, maps)
}

/// The first of those with one key.
fn unique(pairs: impl Iterator<Item = (Value, Option<Place>)>) -> Pairs {
    let mut found: Pairs = Vec::new();
    for (pair, place) in pairs {
        let key = |pair: &Value| match pair {
            Value::List(pair) => pair.first().cloned(),
            _ => None,
        };
        if !found.iter().any(|(other, _)| key(other) == key(&pair)) {
            found.push((pair, place));
        }
    }
    found
}

/// A pattern of the letters of these tests: `1` holds, `0` does not, `.` is not asked.
fn letters(begin: &str, branch: &Branch, used: &[usize]) -> String {
    let letter = |test: &usize| match branch.iter().find(|it| it.test == *test) {
        Some(literal) if literal.is_negated => '0',
        Some(_) => '1',
        None => '.',
    };
    let letters: String = used.iter().map(letter).collect();
    format!("~^{begin}{}", letters.trim_end_matches('.'))
}
