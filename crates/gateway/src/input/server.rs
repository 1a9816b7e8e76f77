//! Which server behind a listener a TLS client means, by the name that it asks for.

use moorline_net::tls::TlsRecords;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::client_hello::{self, ClientHello, FirstBytes};
use crate::entry::{EntryRefused, is_allowed, newcomer, note_denied, note_tickets, take_tickets};
use crate::ids::ListenerId;
use crate::input::failed_handshake::refused;
use crate::session::{End, Session};
use crate::shared::limits::LimitStatus;
use crate::tools::Tools;
use moorline_protocol::wire::CloseReason;

/// Whether the server of this handshake is not chosen yet.
pub(crate) fn is_undecided(session: &Session, tools: &Tools) -> bool {
    let is_new = session.transport.tls.as_ref().is_some_and(|it| it.is_new());
    is_new && tools.cx.servers.decide(session.listener.index())
}

/// Looks at the hello of a handshake, and leaves it in the socket. True: it is decided which server the handshake belongs to.
///
/// # Errors
/// It ends: its hello is too long, its client has left, or the server does not take it.
pub(crate) fn decide(session: &mut Session, tools: &mut Tools) -> Result<bool, End> {
    let Some(socket) = &session.transport.socket else {
        return Err(End::Now(CloseReason::Handshake));
    };
    let seen = &mut tools.scratch.received;
    let bytes = match rustix::net::recv(socket, &mut **seen, RecvFlags::PEEK) {
        Ok((1.., bytes)) => bytes,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        Ok(_) | Err(_) => return Err(refused(session, "the peer has left", tools)),
    };
    match client_hello::read(&seen[..bytes]) {
        FirstBytes::Unfinished(least) if least > seen.len() => {
            Err(refused(session, "its hello is too long", tools))
        }
        FirstBytes::Unfinished(_) if session.transport.link.is_hung_up() => {
            Err(refused(session, "the peer has left", tools))
        }
        FirstBytes::Unfinished(_) => {
            session.input.readable = false;
            Ok(false)
        }
        FirstBytes::Hello(hello) => {
            let has_notes = session.notes.is_some();
            go_to_server(session, hello, tools)?;
            // TLS itself tells it from here on.
            if let Some(notes) = &mut session.notes {
                notes.hello = None;
                if !has_notes && notes.limit_status == LimitStatus::Uncounted {
                    session.notes = None;
                }
            }
            Ok(true)
        }
        // The handshake says what is wrong with it.
        FirstBytes::Other => Ok(true),
    }
}

/// The connection goes on with the server that has the name of this hello, if there is one. The hello is noted if a text has it.
///
/// # Errors
/// It ends: the server does not take it.
pub(crate) fn go_to_server(
    session: &mut Session,
    hello: ClientHello,
    tools: &mut Tools,
) -> Result<(), End> {
    let present = session.listener;
    let found = tools.cx.servers.find(present.index(), &hello.sni);
    let found = found.map(ListenerId).filter(|server| *server != present);
    // A reload has changed the configuration at the same time as the names.
    let found = found.filter(|it| it.index() < tools.cx.config.listeners.len());
    let listener = found.unwrap_or(present);
    let settings = tools.cx.listener(listener);
    if settings.uses.hello {
        session.notes.get_or_insert_default().hello = Some(Box::new(hello));
    }
    let Some(server) = found else {
        return Ok(());
    };
    let has_tls = settings.tls.is_some();
    tools.cx.shared.admissions[server.index()].join();
    session.listener = server;
    let known = newcomer(session);
    if !is_allowed(tools.cx.listener(server), &session.peer) {
        note_denied(&known, tools);
        return Err(End::Now(CloseReason::Handshake));
    }
    match take_tickets(&known, tools) {
        Ok(tickets) => note_tickets(&mut session.notes, tickets),
        Err(EntryRefused) => return Err(End::Now(CloseReason::Limit)),
    }
    if has_tls && session.transport.tls.is_some() {
        let shown = tools.cx.tls.get(server.index()).and_then(Option::as_ref);
        let begun = shown.map(TlsRecords::server);
        match begun {
            Some(Ok(tls)) => session.transport.tls = Some(Box::new(tls)),
            Some(Err(error)) => return Err(refused(session, &error.to_string(), tools)),
            None => return Err(refused(session, "its server has no certificate", tools)),
        }
    }
    Ok(())
}
