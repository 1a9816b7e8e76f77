//! Questions of processes to a loop, and their answers.

use moorline_ipc::Record;

use crate::cx::Cx;
use crate::facts::facts;
use crate::groups::Groups;
use crate::ids::{ListenerId, ProcessKey};
use crate::processes::ledger::Request;
use crate::session::Session;
use crate::session::table::Table;
use crate::tools::Tools;
use crate::transfer::Asker;
use moorline_config::Config;
use moorline_protocol::wire::{Answer, GroupPlace, Question, SessionGroups, ToProcess};

/// The longest question in bytes: a number, and perhaps a name.
const LONGEST_QUESTION: usize = 512;
/// Sessions in one answer. With their keys that is a few records, and it takes at most 0.1 ms.
pub(crate) const ROWS: usize = 64;
/// Places of the table that one answer looks at: few of them may be taken. That takes at most 0.1 ms.
pub(crate) const PLACES: usize = 1024;

/// A process asks something.
///
/// # Errors
/// It is not a question, or there are too many.
pub(crate) fn answer(
    at: ProcessKey,
    record: &Record<'_>,
    sessions: &Table,
    groups: &Groups,
    tools: &mut Tools,
) -> Result<(), String> {
    if record.len() > LONGEST_QUESTION {
        return Err(format!("a question of {} bytes", record.len()));
    }
    let process = &mut tools.processes[at];
    process.ledger.open(Request::Question)?;
    let asker = Asker {
        at,
        process: process.id,
        number: record.header().session,
    };
    let mut bytes = Vec::with_capacity(record.len());
    record.copy_to(&mut bytes);
    let question: Question =
        postcard::from_bytes(&bytes).map_err(|error| format!("a question: {error}"))?;
    let told = |session: &Session| {
        let listener = known_listener(session, &process.rules, &tools.cx);
        facts(session, listener, &tools.cx)
    };
    let answer = match question {
        Question::Session(id) => {
            let session = sessions.find(id).map(|key| &sessions[key]);
            Answer::Session(session.filter(|session| session.lives()).map(told))
        }
        Question::Members(group, from) => {
            let (ids, next) = groups.page(&group, from);
            let label = |id| {
                let session = sessions.find(id).map(|key| &sessions[key]);
                session.map_or_else(Vec::new, |session| session.app.label().to_vec())
            };
            let members = ids.into_iter().map(|id| (id, label(id)));
            Answer::Members(members.collect(), next)
        }
        Question::Sessions(from) => {
            let (page, next) = sessions.page(from, PLACES, ROWS, Session::lives);
            let rows = page.into_iter().map(|it| told(it).among_others());
            Answer::Sessions(rows.collect(), next)
        }
        Question::GroupChanges { log, after } => group_changes(log, after, sessions, groups),
        Question::Memberships(from) => memberships(from, sessions, groups),
    };
    // Plain values only: there is nothing in it that could fail to be written.
    let bytes = postcard::to_stdvec(&answer).unwrap_or_default();
    let (processes, memory) = (&mut tools.processes, &mut tools.memory);
    processes.answer(asker, ToProcess::Answer, 0, bytes.into(), memory);
    Ok(())
}

/// How sessions are in groups now, of which something has changed.
fn group_changes(log: u64, after: u64, sessions: &Table, groups: &Groups) -> Answer {
    let logged = groups.changes_since(log, after);
    let place = |(group, id): (&[u8], u64)| {
        let session = sessions.find(id).map(|key| &sessions[key]);
        let member = session.filter(|session| groups.is_in(group, session));
        GroupPlace {
            group: group.to_vec(),
            session: id,
            label: member.map(|session| session.app.label().to_vec()),
        }
    };
    let changes = logged.changes;
    Answer::GroupChanges {
        log: logged.log,
        until: logged.until,
        has_more: logged.has_more,
        changes: changes.map(|changes| changes.into_iter().map(place).collect()),
    }
}

/// Some sessions that are in groups.
fn memberships(from: u32, sessions: &Table, groups: &Groups) -> Answer {
    let is_in_some = |session: &Session| !session.app.groups().is_empty();
    let (page, next) = sessions.page(from, PLACES, ROWS, is_in_some);
    let row = |session: &Session| SessionGroups {
        session: session.id,
        label: session.app.label().to_vec(),
        groups: groups.names(session).map(<[u8]>::to_vec).collect(),
    };
    Answer::Memberships(page.into_iter().map(row).collect(), next)
}

/// The session's listener as a process that serves by these rules knows it. One that is being replaced may remember
/// another listener in this place.
fn known_listener(session: &Session, rules: &Config, cx: &Cx) -> ListenerId {
    let id = session.listener;
    if name(rules, id) == name(&cx.config, id) {
        id
    } else {
        ListenerId::UNKNOWN
    }
}

fn name(config: &Config, listener: ListenerId) -> Option<&str> {
    Some(&config.listeners.get(listener.index())?.name)
}
