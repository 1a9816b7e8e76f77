//! Which server behind a listener a TLS client means, by the name that it asks for.

use moorline_net::tls::{ClientCertificate, ReadyCertificate, TlsRecords};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::chosen_certificates::{CertificateFiles, CertificateReader, KnownCertificate};
use crate::client_hello::{self, ClientHello, FirstBytes};
use crate::entry::{
    EntryRefused, Newcomer, is_allowed, newcomer, note_denied, note_tickets, take_tickets,
};
use crate::ids::ListenerId;
use crate::input::failed_handshake::refused;
use crate::session::{End, Phase, Session};
use crate::shared::limits::LimitStatus;
use crate::timers::Alarm;
use crate::tools::Tools;
use moorline_protocol::wire::CloseReason;

/// How soon a certificate that is being read is asked for again, in milliseconds.
const CERTIFICATE_MS: u64 = 5;

/// Whether the server of this handshake is not chosen yet.
pub(crate) fn is_undecided(session: &Session, tools: &Tools) -> bool {
    let is_new = session.transport.tls.as_ref().is_some_and(|it| it.is_new());
    let settings = tools.cx.listener(session.listener);
    let needs_hello = settings.certificate.is_some() || settings.uses.offer;
    is_new && (needs_hello || tools.cx.servers.decide(session.listener.index()))
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
            go_to_server(session, hello.clone(), tools)?;
            let is_shown = show_chosen(session, hello, tools)?;
            // TLS itself tells it from here on.
            if let Some(notes) = &mut session.notes {
                notes.hello = None;
                let is_empty =
                    notes.limit_status == LimitStatus::Uncounted && notes.offer.is_none();
                if !has_notes && is_empty {
                    session.notes = None;
                }
            }
            Ok(is_shown)
        }
        // The handshake says what is wrong with it.
        FirstBytes::Other => Ok(true),
    }
}

/// Has TLS show the certificate that the connection chooses, if it chooses one. False: it is being read.
///
/// # Errors
/// It ends: its certificate cannot be shown.
fn show_chosen(session: &mut Session, hello: ClientHello, tools: &mut Tools) -> Result<bool, End> {
    let settings = tools.cx.listener(session.listener);
    let Some(chosen) = &settings.certificate else {
        return Ok(true);
    };
    session.notes.get_or_insert_default().hello = Some(Box::new(hello));
    let place = session.listener.index();
    // A server without `tls` has that of its listener.
    let host = tools.cx.shared.admissions[place].host();
    let of_tls = host.filter(|_| settings.tls.is_none()).unwrap_or(place);
    let known = Newcomer {
        tls: session.transport.tls.as_deref(),
        ..newcomer(session)
    };
    let files = CertificateFiles::chosen(chosen, &known.facts(None, &tools.cx));
    let files = match files {
        Ok(Some(files)) => files,
        Ok(None) => return Err(refused(session, "it chooses no certificate", tools)),
        Err(why) => return Err(refused(session, &why, tools)),
    };
    let now = tools.cx.clock.shared_ms();
    let known = tools.cx.shared.certificates.get(&files, reader, now);
    match known {
        KnownCertificate::Ready(ready) => {
            let tls = tools.cx.tls.get(of_tls).and_then(Option::as_ref);
            let begun = tls.map(|tls| TlsRecords::server(&tls.showing(&ready)));
            match begun {
                Some(Ok(tls)) => session.transport.tls = Some(Box::new(tls)),
                Some(Err(error)) => return Err(refused(session, &error.to_string(), tools)),
                None => return Err(refused(session, "its listener has no TLS", tools)),
            }
            Ok(true)
        }
        KnownCertificate::Awaited => {
            session.input.readable = false;
            let at = tools.cx.clock.ms + CERTIFICATE_MS;
            let alarm = Alarm::Certificate(session.name());
            tools.agenda.timers.set(at, alarm);
            Ok(false)
        }
        KnownCertificate::Unusable(why) => Err(refused(session, &why, tools)),
    }
}

/// Reads certificates whose keys have no password.
fn reader() -> CertificateReader {
    Box::new(|files| {
        let pair = ClientCertificate::new(files.certificate.clone(), files.key.clone());
        ReadyCertificate::read_plain(&pair).map_err(|error| error.to_string())
    })
}

/// The certificate of a handshake may have been read.
pub(crate) fn look_for_certificate(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    if session.phase == Phase::Handshake {
        session.input.readable = true;
        tools.agenda.await_handshake(session, &tools.cx.shared);
    }
    Ok(())
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
        let notes = session.notes.get_or_insert_default();
        if settings.uses.offer {
            notes.offer = Some(Box::new(hello.offer.clone()));
        }
        notes.hello = Some(Box::new(hello));
    }
    let Some(server) = found else {
        return Ok(());
    };
    let has_tls = settings.tls.is_some();
    tools.cx.shared.admissions[server.index()].join();
    tools.cx.leaves(session.listener);
    tools.cx.enters(server);
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
