//! `tcp-request … accept` and `reject` that ask for the client's address: `access`.

use super::acl::{Acls, Subject};
use super::condition::{Condition, condition};
use super::lines::Line;
use super::proxy::Proxy;
use crate::note::{Place, Report, Reported};
use crate::region::Regions;
use crate::toml::{Entry, Value};

/// Rules that `access` may have.
const MOST_RULES: usize = 4096;

/// A rule, and when it holds.
#[derive(Debug, Clone)]
pub(super) struct ClientRule {
    pub(super) accepts: bool,
    pub(super) condition: Condition,
    pub(super) place: Place,
}

/// The rules of a stage in their order. The first that holds decides, and a connection without one is accepted.
#[derive(Debug, Clone, Default)]
pub(super) struct Stage(pub(super) Vec<ClientRule>);

impl Stage {
    /// Reads `tcp-request KIND accept` and `reject`.
    pub(super) fn read(
        proxy: Proxy<'_>,
        kind: &str,
        acls: &mut Acls<'_>,
        report: &mut Report,
    ) -> Result<Self, Reported> {
        let mut rules = Vec::new();
        let mut result = Ok(());
        // What says that a header comes first is no rule of clients.
        let lines = proxy.own(&["tcp-request", kind]).into_iter();
        for line in lines.filter(|line| kind != "connection" || line.word(2) != "expect-proxy") {
            match rule(line, acls, report) {
                Ok(rule) => rules.push(rule),
                Err(reported) => result = Err(reported),
            }
        }
        result.map(|()| Self(rules))
    }

    /// Whether some connection may be refused.
    pub(super) fn rejects(&self) -> bool {
        self.0.iter().any(|rule| !rule.accepts)
    }

    /// Whether all tests are about the client's address.
    pub(super) fn is_of_clients(&self, acls: &Acls<'_>) -> bool {
        let mut branches = self.0.iter().flat_map(|rule| &rule.condition.0).flatten();
        branches.all(|it| acls.tests[it.test].subject == Subject::Client)
    }

    /// Whether it accepts TLS, and nothing else.
    pub(super) fn only_hellos(&self, acls: &Acls<'_>) -> bool {
        let is_hello = |test: usize| acls.tests[test].subject == Subject::Hello;
        match &self.0[..] {
            [accept, reject] => {
                let tests = accept.condition.any().unwrap_or_default();
                let accepts =
                    accept.accepts && !tests.is_empty() && tests.into_iter().all(is_hello);
                accepts && !reject.accepts && reject.condition.is_always()
            }
            _ => false,
        }
    }

    /// By the outcome of each test.
    fn accepts(&self, tests: &[bool]) -> bool {
        let rule = self.0.iter().find(|rule| rule.condition.holds(tests));
        rule.is_none_or(|rule| rule.accepts)
    }
}

fn rule(line: &Line, acls: &mut Acls<'_>, report: &mut Report) -> Result<ClientRule, Reported> {
    let accepts = match line.word(2) {
        "accept" => true,
        "reject" => false,
        "silent-drop" => {
            let text = format!("`silent-drop` of `{}` closes the connection", line.name());
            report.remark(&line.place, text);
            false
        }
        _ => {
            return Err(line.refuse(
                report,
                "is imported with `accept`, `reject` and `silent-drop` only",
            ));
        }
    };
    Ok(ClientRule {
        accepts,
        condition: condition(line, &line.words[3..], acls, report)?,
        place: line.place.clone(),
    })
}

/// `access` for stages that ask for the client's address only. Each of them must accept.
pub(super) fn access(
    proxy: Proxy<'_>,
    stages: &[&Stage],
    acls: &Acls<'_>,
    report: &mut Report,
) -> Result<Option<Entry>, Reported> {
    let stages: Vec<_> = stages.iter().filter(|it| !it.0.is_empty()).collect();
    let alone = match &stages[..] {
        [] => return Ok(None),
        [stage] => in_order(stage, acls),
        _ => None,
    };
    let rules = alone.unwrap_or_else(|| by_network(&stages, acls));
    if rules.len() > MOST_RULES {
        let why = format!("needs over {MOST_RULES} rules: write networks in place of addresses");
        let lines = proxy.own(&["tcp-request"]);
        return Err(lines.first().map_or(Reported, |it| it.refuse(report, why)));
    }
    Ok((!rules.is_empty()).then(|| Entry::default("access", Value::Lines(rules))))
}

type Rules = Vec<(Value, Option<Place>)>;

fn verdict(accepts: bool, clients: &str) -> Value {
    let key = if accepts { "allow" } else { "deny" };
    Value::Table(vec![(key.to_owned(), Value::text(clients))])
}

/// The rules as they are written. `None`: some ask for more than one of several networks.
fn in_order(stage: &Stage, acls: &Acls<'_>) -> Option<Rules> {
    let mut rules = Rules::new();
    for rule in &stage.0 {
        let mut push = |clients: &str| {
            let place = Some(rule.place.clone());
            rules.push((verdict(rule.accepts, clients), place));
        };
        if rule.condition.is_always() {
            push("all");
            break;
        }
        for test in rule.condition.any()? {
            acls.tests[test].keys.iter().for_each(|it| push(it));
        }
    }
    Some(rules)
}

/// A rule for each network that differs from the one around it.
fn by_network(stages: &[&&Stage], acls: &Acls<'_>) -> Rules {
    let (outside, inside) = regions(acls).values(acls.tests.len(), |tests| {
        stages.iter().all(|stage| stage.accepts(tests))
    });
    let rules = inside
        .iter()
        .map(|(network, accepts)| (verdict(*accepts, network), None));
    let last = (!outside).then(|| (verdict(false, "all"), None));
    rules.chain(last).collect()
}

/// The networks of all tests of the client's address.
pub(super) fn regions(acls: &Acls<'_>) -> Regions {
    let mut regions = Regions::default();
    for (at, test) in acls.tests.iter().enumerate() {
        if test.subject == Subject::Client {
            regions.add(at, &test.keys);
        }
    }
    regions
}
