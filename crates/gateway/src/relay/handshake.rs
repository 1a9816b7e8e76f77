//! The TLS handshake with a peer, before the client's bytes go there.

use std::fmt;

use rustix::io::Errno;

use crate::chosen_certificates::{CertificateFiles, KnownCertificate};
use crate::cx::Cx;
use crate::ids::Side;
use crate::memory::{Class, TLS_BYTES};
use crate::peer_tls::{PeerTls, host_of};
use crate::relay::inflow::receive;
use crate::relay::peer_handshake::PeerHandshake;
use crate::relay::way::send;
use crate::relay::{Relay, RelaySide, RelayStage};
use crate::timers::Alarm;
use crate::tools::Tools;
use crate::upstreams::{Encryption, Failure, PeerAddress};
use moorline_config::{ChosenCertificate, Destination};

/// How soon a relay that waits for its certificate asks again, in milliseconds: a file takes less than one, mostly.
const CERTIFICATE_MS: u64 = 2;
/// Reads of one handshake without a pause: a peer whose handshake has more of them is none.
const MOST_READS: usize = 64;

/// Why a handshake has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HandshakeFault {
    /// The connection broke.
    System(Errno),
    /// The peer has ended it.
    Closed,
    /// One side has refused, for this reason.
    Refused(String),
    /// The certificate for the peer cannot be used, for this reason. The peer has no part in it.
    NoCertificate(String),
}

/// How a handshake begins.
enum HandshakeBeginning {
    Begun(PeerHandshake),
    /// The certificate for the peer is being read.
    AwaitsCertificate,
}

impl HandshakeFault {
    /// The same, as health counts it.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::System(error) => Failure::System(error.raw_os_error()),
            Self::Closed | Self::Refused(_) | Self::NoCertificate(_) => Failure::Tls,
        }
    }
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::Closed => f.write_str("the peer left in the middle of the handshake"),
            Self::Refused(why) => f.write_str(why),
            Self::NoCertificate(why) => write!(f, "the peer is not shown a certificate: {why}"),
        }
    }
}

/// Goes on with the handshake as far as the peer has. `Some`: it is over, and this is the plaintext that came behind it. An
/// upstream without TLS has none.
///
/// # Errors
/// It has failed. The peer was told why, if it can be.
pub(crate) fn shake_hands(
    relay: &mut Relay,
    tools: &mut Tools,
) -> Result<Option<Vec<u8>>, HandshakeFault> {
    let RelayStage::Connecting(connecting) = &relay.stage else {
        return Ok(None);
    };
    let Some(attempt) = &connecting.present else {
        return Ok(None);
    };
    let begun = match &attempt.opening.tls {
        Encryption::None => return Ok(Some(Vec::new())),
        _ if attempt.handshake.is_some() => None,
        Encryption::Ready(tls) => {
            let peer = (&*attempt.entry, &attempt.address);
            Some(begin(relay, peer, tls, &tools.cx)?)
        }
        // The peer must never get plaintext.
        Encryption::Missing => {
            return Err(HandshakeFault::Refused(
                "the files of the upstream's `tls` are not loaded: a reload reads them again"
                    .into(),
            ));
        }
    };
    let RelayStage::Connecting(connecting) = &mut relay.stage else {
        return Ok(None);
    };
    let Some(attempt) = &mut connecting.present else {
        return Ok(None);
    };
    match begun {
        Some(HandshakeBeginning::Begun(begun)) => {
            tools.scratch.prepare_for_tls();
            attempt.handshake = Some(Box::new(begun));
            attempt.awaits_certificate = false;
        }
        Some(HandshakeBeginning::AwaitsCertificate) => {
            if !std::mem::replace(&mut attempt.awaits_certificate, true) {
                let waited = tools.cx.clock.since(attempt.begun_at).as_millis() as u64;
                let at = tools.cx.clock.ms + CERTIFICATE_MS.max(waited / 4);
                tools.agenda.timers.set(at, Alarm::Connect(relay.name));
            }
            return Ok(None);
        }
        None => {}
    }
    match &mut attempt.handshake {
        Some(handshake) => go_on(handshake, &relay.sides[Side::Upstream as usize], tools),
        None => Ok(None),
    }
}

/// The first message.
fn begin(
    relay: &Relay,
    (entry, address): (&str, &PeerAddress),
    tls: &PeerTls,
    cx: &Cx,
) -> Result<HandshakeBeginning, HandshakeFault> {
    // An address has the settings of another upstream.
    let like = match &cx.listener(relay.listener).destination {
        Some(Destination::Text { like, .. }) => like.as_deref(),
        _ => None,
    };
    let upstream = cx.config.upstream(&relay.upstream.name);
    let upstream = upstream.or_else(|| cx.config.upstream(like?));
    let settings = upstream.and_then(|it| it.tls.as_ref());
    let shown = match settings.and_then(|it| it.certificate.as_ref()) {
        None => None,
        Some(chosen) => match chosen_certificate(chosen, tls, relay, cx)? {
            Some(KnownCertificate::Ready(ready)) => Some(ready),
            Some(KnownCertificate::Awaited) => return Ok(HandshakeBeginning::AwaitsCertificate),
            Some(KnownCertificate::Unusable(why)) => {
                return Err(HandshakeFault::NoCertificate(why));
            }
            None => None,
        },
    };
    let template = settings.and_then(|it| it.server_name.as_ref());
    let named = template.map(|it| relay.facts(None, cx).filled(it).into_bytes());
    let named = named.map(|it| String::from_utf8_lossy(&it).into_owned());
    // An empty name is none.
    let named = named.filter(|name| !name.is_empty());
    let host = named.as_deref().or_else(|| host_of(entry));
    let refused = |error: &dyn fmt::Display| HandshakeFault::Refused(error.to_string());
    let tls = tls.of(address, shown.as_ref()).connect(host);
    let mut tls = tls.map_err(|error| refused(&error))?;
    let mut unsent = Vec::new();
    tls.open(&mut [], &mut [], &mut unsent)
        .map_err(|error| refused(&error))?;
    Ok(HandshakeBeginning::Begun(PeerHandshake {
        tls: Box::new(tls),
        unsent,
    }))
}

/// The certificate that a relay chooses for its peer, if it chooses one.
fn chosen_certificate(
    chosen: &ChosenCertificate,
    tls: &PeerTls,
    relay: &Relay,
    cx: &Cx,
) -> Result<Option<KnownCertificate>, HandshakeFault> {
    let files = CertificateFiles::chosen(chosen, &relay.facts(None, cx));
    let files = files.map_err(HandshakeFault::NoCertificate)?;
    Ok(files.map(|files| tls.certificate(&files, cx.clock.shared_ms())))
}

fn go_on(
    PeerHandshake { tls, unsent }: &mut PeerHandshake,
    peer: &RelaySide,
    tools: &mut Tools,
) -> Result<Option<Vec<u8>>, HandshakeFault> {
    let Some(socket) = &peer.socket else {
        return Ok(None);
    };
    let scratch = &mut tools.scratch;
    for _ in 0..MOST_READS {
        let sent = send(socket, unsent).map_err(HandshakeFault::System)?;
        unsent.drain(..sent);
        if !unsent.is_empty() {
            // The socket reports when it takes more.
            return Ok(None);
        }
        if !tls.is_handshaking() {
            return Ok(Some(Vec::new()));
        }
        let lent = tls.lend(&mut scratch.cipher);
        let lent = lent.ok_or_else(|| HandshakeFault::Refused("it is too large".into()))?;
        let received = match receive(socket, &mut scratch.cipher[lent..]) {
            Ok(0) => return Err(HandshakeFault::Closed),
            Ok(bytes) => bytes,
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(HandshakeFault::System(error)),
        };
        let records = &mut scratch.cipher[..lent + received];
        let opened = tls.open(records, &mut scratch.received, unsent);
        match opened {
            Ok(opened) if !tls.is_handshaking() => {
                let plaintext = scratch.received[..opened.plaintext].to_vec();
                let sent = send(socket, unsent).map_err(HandshakeFault::System)?;
                unsent.drain(..sent);
                return Ok(Some(plaintext));
            }
            Ok(_) => {}
            Err(error) => {
                let _ = send(socket, unsent);
                return Err(HandshakeFault::Refused(error.to_string()));
            }
        }
    }
    Err(HandshakeFault::Refused("it does not end".into()))
}

/// The relay is joined: the peer's side is encrypted from now on. What the client had sent before goes first, and what came
/// behind the handshake goes to the client.
///
/// # Errors
/// The keys are of no use.
pub(crate) fn encrypt_peer(
    relay: &mut Relay,
    handshake: Option<Box<PeerHandshake>>,
    plaintext: &[u8],
    tools: &mut Tools,
) -> Result<(), HandshakeFault> {
    let Some(handshake) = handshake else {
        return Ok(());
    };
    let PeerHandshake { mut tls, unsent } = *handshake;
    let memory = &mut tools.memory;
    memory.hold(Class::Tls, TLS_BYTES);
    memory.hold(Class::Received, tls.unfinished());
    let refused = |error: &dyn fmt::Display| HandshakeFault::Refused(error.to_string());
    let ahead = relay.way_mut(Side::Client);
    let before = ahead.held();
    let early = ahead.take_kept();
    let mut sealed = unsent;
    let said = match early.is_empty() {
        true => Ok(()),
        false => tls.seal(&early, &mut sealed),
    };
    ahead.keep_sealed(&sealed, early.len());
    memory.change(Class::Queued, before, ahead.held());
    let side = relay.side_mut(Side::Upstream);
    side.tls = Some(tls);
    // More may have come with the end of the handshake.
    side.is_readable = true;
    if !early.is_empty()
        && let RelayStage::Joined(joined) = &mut relay.stage
    {
        // No other peer can read them.
        joined.retry = None;
    }
    said.map_err(|error| refused(&error))?;
    let [client, _] = &mut relay.sides;
    let back = &mut relay.ways[Side::Upstream as usize];
    let before = back.held();
    let said = match (&mut client.tls, plaintext.is_empty()) {
        (_, true) => Ok(()),
        (None, false) => {
            back.keep_uncounted(plaintext);
            Ok(())
        }
        (Some(tls), false) => {
            let mut sealed = Vec::new();
            let said = tls.seal(plaintext, &mut sealed);
            back.keep_sealed(&sealed, plaintext.len());
            said
        }
    };
    memory.change(Class::Queued, before, back.held());
    said.map_err(|error| refused(&error))
}
