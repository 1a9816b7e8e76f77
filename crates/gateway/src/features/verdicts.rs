//! What an app says to a request that asks for a session.

use hyper::StatusCode;
use moorline_ipc::Record;

use crate::ids::ProcessKey;
use crate::input::proxied::look_behind;
use crate::input::request::{
    Beginning, begin, begin_by_rules, end_asking, is_encrypted, is_known, page_of,
};
use crate::memory::Class;
use crate::output::reply::{refuse, refuse_with};
use crate::placement::go_home;
use crate::rules::{check_page, choose_protocol};
use crate::session::table::Table;
use crate::session::{End, Phase, Session};
use crate::session_request::{Head, SessionRequest, read_head};
use crate::tools::Tools;
use moorline_config::Origins;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::CloseReason;
use moorline_protocol::wire::accept::{Acceptance, LARGEST_VERDICT, Verdict};

/// Why an answer is not acted on.
pub(crate) enum Unheard {
    /// The process lies.
    Garbage(String),
    /// Its session is gone, or was asked about elsewhere since.
    Late,
}

/// Reads what a process says to a request.
///
/// # Errors
/// It was not asked, it says what no honest process says, or nobody waits for it any more.
pub(crate) fn read_verdict<'a>(
    at: ProcessKey,
    record: &Record<'_>,
    sessions: &'a mut Table,
    tools: &mut Tools,
) -> Result<(&'a mut Session, Verdict), Unheard> {
    let garbage = |why: String| Unheard::Garbage(why);
    if record.len() > LARGEST_VERDICT {
        return Err(garbage(format!("{} bytes with a verdict", record.len())));
    }
    let mut bytes = Vec::with_capacity(record.len());
    record.copy_to(&mut bytes);
    let verdict: Verdict =
        postcard::from_bytes(&bytes).map_err(|error| garbage(format!("a verdict: {error}")))?;
    if !verdict.is_sound() {
        return Err(garbage(
            "a verdict that breaks the answer's head".to_owned(),
        ));
    }
    let process = &mut tools.processes[at];
    let Some(asked) = process.asked.checked_sub(1) else {
        return Err(garbage("a verdict that nobody asked for".to_owned()));
    };
    process.asked = asked;
    while let Some(name) = process.askers.pop_front() {
        let Some(session) = sessions.named_mut(name) else {
            continue;
        };
        session.listed.parked = false;
        tools.agenda.schedule(session);
        // Others have waited for too long, and were refused.
        if matches!(session.phase, Phase::Asking { .. }) && session.placement.process().is_none() {
            break;
        }
    }
    let session = sessions.find_mut(record.header().session);
    let is_awaited = |session: &&mut Session| {
        matches!(session.phase, Phase::Asking { .. }) && session.placement.process() == Some(at)
    };
    let session = session.filter(is_awaited).ok_or(Unheard::Late)?;
    Ok((session, verdict))
}

/// Does what a process says to a request.
///
/// # Errors
/// The session ends: the answer could not be sent.
pub(crate) fn follow(
    session: &mut Session,
    at: ProcessKey,
    verdict: Verdict,
    tools: &mut Tools,
) -> Result<(), End> {
    end_asking(session, tools);
    if matches!(verdict, Verdict::Rules) {
        tools.processes[at].is_asked = false;
    }
    match verdict {
        Verdict::Rules | Verdict::Accept(_) => {}
        Verdict::Refuse(answer) => {
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::FORBIDDEN);
            let (fields, body) = (&answer.fields, &answer.body);
            refuse_with(session, status, fields, body, CloseReason::Handshake, tools);
            return Ok(());
        }
        Verdict::Failed => {
            let answer = (StatusCode::SERVICE_UNAVAILABLE, "the app has failed");
            refuse(session, answer, CloseReason::Error, tools);
            return Ok(());
        }
    }
    let tail = std::mem::take(&mut session.input.tail);
    let listener = tools.cx.listener(session.listener);
    let (used, begun) = match read_head(&tail, listener) {
        Head::Session(mut request) => {
            let begun = match (look_behind(session, &mut request, tools), verdict) {
                // A reload has changed the header that counts.
                (false, _) => Ok(()),
                (true, Verdict::Accept(acceptance)) => {
                    accept(session, &request, *acceptance, tools)
                }
                (true, _) => begin_by_rules(session, &request, tools),
            };
            (request.length, begun)
        }
        // A reload has taken the path away meanwhile.
        Head::Other | Head::Wrong(_) | Head::Unfinished => {
            let answer = (StatusCode::NOT_FOUND, "not found");
            refuse(session, answer, CloseReason::Handshake, tools);
            (tail.len(), Ok(()))
        }
    };
    let rest = match session.phase {
        Phase::Refused(_) => Vec::new(),
        _ => tail[used..].to_vec(),
    };
    tools.memory.change(Class::Received, tail.len(), rest.len());
    session.input.tail = rest;
    tools.agenda.schedule(session);
    begun
}

/// The app accepts the request.
fn accept(
    session: &mut Session,
    request: &SessionRequest<'_>,
    acceptance: Acceptance,
    tools: &mut Tools,
) -> Result<(), End> {
    let is_encrypted = is_encrypted(session, request);
    let rules = &tools.cx.listener(session.listener).requests;
    if !acceptance.any_origin
        && let Err(refusal) = check_page(rules, request, is_encrypted)
    {
        refuse(session, refusal, CloseReason::Handshake, tools);
        return Ok(());
    }
    let with_cookies = !acceptance.any_origin && rules.origins != Origins::Any;
    let by_rules = choose_protocol(rules, &request.protocols).map(str::to_owned);
    let chosen = acceptance.protocol;
    if let Some(chosen) = &chosen
        && !request.protocols.contains(&chosen.as_str())
    {
        tracing::error!(
            session = %SessionId::from(session.id), peer = %session.peer, subprotocol = chosen,
            "the app chose a subprotocol that the client does not offer: none is agreed on"
        );
    }
    let protocol = chosen
        .or(by_rules)
        .filter(|protocol| request.protocols.contains(&protocol.as_str()));
    let mut data = acceptance.data;
    if data.request.is_empty() && !is_known(request, tools.cx.listener(session.listener)) {
        data.request = request.kept();
    }
    let beginning = Beginning {
        wants: request.wants,
        page: page_of(request, with_cookies),
        protocol: protocol.as_deref(),
        extensions: &request.extensions,
        fields: &acceptance.fields,
    };
    let has_key = !data.key.is_empty();
    let (before, after) = session.app.change(|state| {
        state.locker = data.state;
        state.key = data.key;
        state.label = data.label;
        state.request = data.request;
    });
    tools.memory.change(Class::State, before, after);
    let begun = begin(session, &beginning, tools);
    if has_key {
        go_home(session, tools);
    }
    begun
}
