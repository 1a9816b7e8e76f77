//! `moorline dial`: opens a connection, shows what that took step by step, and joins it to standard
//! input and output.
//!
//! In reading order: `waterfall` (one dial's timeline as a drawing), `pipe` (what follows a dial that
//! succeeded), `datagrams` (the same where there is no stream), `summary`
//! (many dials).

mod datagrams;
mod pipe;
mod summary;
mod waterfall;

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use moorline_net::dial::StepKind;
use moorline_net::dial::via::Via;
use moorline_net::resolve::ResolveError;
use moorline_net::tls::{TlsError, TlsSession, Verification};
use moorline_net::{
    Address, AddressError, ConnectCause, ConnectError, Connection, DatagramClient, DialOptions,
    Dialer, Framing, Timeline, unit,
};

use pipe::Broken;
use summary::Summary;
use waterfall::{Style, Waterfall};

/// Opens a connection and shows its timeline; then standard input goes to the peer, and what the peer sends
/// to standard output, until the peer ends and no more input is at hand. The end of the input half-closes.
///
/// To udp:// and unixgram:// each read of the input, or each line with --framing line, is one datagram. After the
/// end of the input it waits until nothing has come for as long as the deadline.
///
/// Ends with 0 if it connected, 1 if not (or if the connection broke), 2 if what was asked makes no sense.
#[derive(Debug, Clone, Args)]
pub(crate) struct DialArgs {
    /// Where to, for instance tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH or udp://HOST:PORT.
    #[arg(value_parser = address)]
    address: Address,
    /// Print the timeline as one line of JSON on standard output, before anything else.
    #[arg(long)]
    json: bool,
    /// Close as soon as the connection is there.
    #[arg(long)]
    probe: bool,
    /// Send each line of input as one message, print each message as one line: line, length,
    /// length:width=2,endian=little,counts=message,max=64KiB or delimiter=\r\n. Or raw.
    #[arg(long, value_name = "FRAMING", default_value = "raw", value_parser = crate::framing::parse, conflicts_with_all = ["probe", "count"])]
    framing: Framing,
    /// Accept the server whose certificate has this SHA-256 fingerprint, and verify nothing else of it.
    #[arg(long, value_name = "HEX")]
    tls_insecure_fingerprint: Option<String>,
    /// Go through this proxy: socks5://[USER:PASSWORD@]HOST:PORT or http://….
    #[arg(long, value_name = "PROXY", value_parser = proxy)]
    via: Option<Result<Via, String>>,
    /// Connect from this local address: IP or IP:PORT.
    #[arg(long, value_name = "IP", value_parser = local_address)]
    bind: Option<SocketAddr>,
    /// The time for resolving, connecting and handshakes together; 5s unless given.
    #[arg(long, value_name = "DURATION", value_parser = deadline)]
    deadline: Option<Duration>,
    /// Dial this number of times, one after the other, closing each connection at once, and sum up.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
}

/// Dials, prints and pipes. Blocks until that is over.
pub(crate) fn run(args: &DialArgs) -> ExitCode {
    let outcome = args.options().and_then(|options| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| DialFailure::Failed(format!("no event loop: {error}")))?;
        let outcome = runtime.block_on(args.dial(&Dialer::new(options)));
        // A thread may still wait for standard input, which is not needed any more.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (code, message) = match failure {
                DialFailure::Usage(message) => (2, message),
                DialFailure::Failed(message) => (1, message),
            };
            complain(&format!("error: {message}\n"));
            ExitCode::from(code)
        }
    }
}

/// The message before the end.
enum DialFailure {
    /// The arguments make no sense.
    Usage(String),
    /// It was tried and failed.
    Failed(String),
}

impl From<ConnectError> for DialFailure {
    fn from(error: ConnectError) -> Self {
        match makes_no_sense(error.cause()) {
            true => Self::Usage(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

/// Whether the arguments are wrong, as opposed to the dial.
fn makes_no_sense(cause: &ConnectCause) -> bool {
    matches!(
        cause,
        ConnectCause::Invalid(_)
            | ConnectCause::NoInterface(_)
            | ConnectCause::Tls(TlsError::Options(_))
            | ConnectCause::Resolve(ResolveError::InvalidName { .. })
    )
}

impl DialArgs {
    fn options(&self) -> Result<DialOptions, DialFailure> {
        let via = self.via.clone().transpose();
        let mut options = DialOptions::default()
            .bind(self.bind)
            .via(via.map_err(|problem| DialFailure::Usage(format!("--via: {problem}")))?);
        if let Some(deadline) = self.deadline {
            options.deadline = deadline;
        }
        if let Some(fingerprint) = &self.tls_insecure_fingerprint {
            if !matches!(self.address.scheme(), "tls" | "https" | "wss") {
                return Err(DialFailure::Usage(format!(
                    "--tls-insecure-fingerprint is for TLS, and {} has none: write tls://HOST:PORT",
                    self.address
                )));
            }
            options.tls.verification = Verification::DangerouslyNone;
            options.tls.fingerprints = vec![fingerprint.clone()];
        }
        Ok(options)
    }

    async fn dial(&self, dialer: &Dialer) -> Result<(), DialFailure> {
        if let Address::Udp(_) | Address::Unixgram(_) = self.address {
            return self.dial_datagrams(dialer).await;
        }
        if let Some(count) = self.count {
            let summary = Summary::gather(dialer, &self.address, count).await?;
            return summary.print(self.json);
        }
        match dialer.connect(&self.address).await {
            Ok(connection) => {
                self.show(connection.timeline(), connection.tls())?;
                if self.probe {
                    return Ok(());
                }
                self.pipe(connection).await
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    async fn dial_datagrams(&self, dialer: &Dialer) -> Result<(), DialFailure> {
        let problem = if self.probe || self.count.is_some() {
            "datagrams open nothing that could be probed or counted: send one and see whether an answer comes"
        } else if self.via.is_some() {
            "--via is for streams: leave it out"
        } else if self.bind.is_some() && matches!(self.address, Address::Unixgram(_)) {
            "--bind is for IP addresses: leave it out"
        } else if !matches!(self.framing, Framing::Raw | Framing::Line { .. }) {
            "a datagram is a message already: write --framing line, or leave it out"
        } else {
            match DatagramClient::connect(dialer, &self.address).await {
                Ok(client) => {
                    self.show(client.timeline(), None)?;
                    let patience = dialer.options().deadline;
                    let piped = datagrams::datagrams(&client, &self.framing, patience).await;
                    return piped.map_err(|broken| self.broken(&broken));
                }
                Err(error) => return Err(self.refused(error)),
            }
        };
        Err(DialFailure::Usage(format!("{}: {problem}", self.address)))
    }

    /// Shows how far a dial came that failed.
    fn refused(&self, error: ConnectError) -> DialFailure {
        if makes_no_sense(error.cause()) {
            return error.into();
        }
        if let Err(failure) = self.show(error.timeline(), None) {
            return failure;
        }
        let hint = self.hint(&error).unwrap_or_default();
        DialFailure::Failed(format!("{error}{hint}"))
    }

    fn broken(&self, broken: &Broken) -> DialFailure {
        DialFailure::Failed(format!("{}: {broken}", self.address))
    }

    async fn pipe(&self, connection: Connection) -> Result<(), DialFailure> {
        match &self.framing {
            Framing::Raw => pipe::bytes(connection).await,
            framing => pipe::messages(connection, framing).await,
        }
        .map_err(|broken| self.broken(&broken))
    }

    /// What the error's own words leave open: they do not know the command line.
    fn hint(&self, error: &ConnectError) -> Option<String> {
        if let (Some(Ok(via)), Some(StepKind::Resolve | StepKind::Connect)) =
            (&self.via, error.step())
        {
            return Some(format!(": that is the proxy, {}", via.proxy));
        }
        if let ConnectCause::Tls(TlsError::SelfSigned) = error.cause() {
            return Some(
                ": --tls-insecure-fingerprint takes what `openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE` \
                 prints on the server".to_owned(),
            );
        }
        let local = self.bind?;
        let is_bad = error.errno() == Some(rustix::io::Errno::ADDRNOTAVAIL.raw_os_error());
        is_bad.then(|| match local.port() {
            0 => format!(": --bind wants an address of this machine; is {} one?", local.ip()),
            port => format!(
                ": --bind wants an address of this machine and a port that is not in use; is {} one, and {port} free?",
                local.ip()
            ),
        })
    }

    /// A drawing goes to standard error where standard output is the stream's.
    fn show(&self, timeline: &Timeline, tls: Option<TlsSession>) -> Result<(), DialFailure> {
        if self.json {
            return print(&(json(timeline) + "\n"));
        }
        let drawing = |style| {
            let title = self.address.to_string();
            let tls = tls.as_ref().map(agreed).unwrap_or_default();
            // Nothing is known yet about a datagram's peer.
            let done = match self.address {
                Address::Udp(_) | Address::Unixgram(_) => "ready",
                _ => "connected",
            };
            format!("{}{tls}", Waterfall::new(&title, done, timeline, style))
        };
        if self.probe {
            print(&drawing(Style::of(
                &io::stdout(),
                io::stdout().is_terminal(),
            )))
        } else {
            complain(&drawing(Style::of(
                &io::stderr(),
                io::stderr().is_terminal(),
            )));
            Ok(())
        }
    }
}

/// The result of the handshake, and the fingerprint that pins the server.
fn agreed(tls: &TlsSession) -> String {
    let TlsSession {
        version,
        cipher,
        fingerprint,
        ..
    } = tls;
    let alpn = tls.alpn.as_ref().map(|name| format!(", {name}"));
    format!(
        "  {version}, {cipher}{}; certificate for {}\n  SHA-256 {fingerprint}\n",
        alpn.unwrap_or_default(),
        tls.names.join(", "),
    )
}

/// The error's message quotes the text already.
fn address(text: &str) -> Result<Address, String> {
    text.parse()
        .map_err(|error: AddressError| format!("{}: {}", error.problem(), error.hint()))
}

/// Errors are reported later, by [`DialArgs::options`]: here the message would contain the text, which has the
/// password.
fn proxy(text: &str) -> Result<Result<Via, String>, Infallible> {
    Ok(text.parse())
}

fn deadline(text: &str) -> Result<Duration, String> {
    match unit::duration(text) {
        Ok(Duration::ZERO) => Err("nothing is done in no time: write \"1ms\" or more".to_owned()),
        Ok(deadline) => Ok(deadline),
        Err(error) => Err(error.to_string()),
    }
}

/// An IP address, with or without a port.
fn local_address(text: &str) -> Result<SocketAddr, String> {
    text.parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, 0))
        .or_else(|_| text.parse())
        .map_err(|_| {
            "write an address of this machine, as in 127.0.0.2 or 127.0.0.2:4000".to_owned()
        })
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("numbers, strings and lists of them have a JSON form")
}

/// Writes to standard output. It is no failure if the reader has closed it.
fn print(text: &str) -> Result<(), DialFailure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(DialFailure::Failed(
            format!("standard output cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Writes to standard error. If that fails, nobody can be told.
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_address_needs_no_port() {
        assert_eq!(
            local_address("127.0.0.2"),
            Ok("127.0.0.2:0".parse().unwrap())
        );
        assert_eq!(local_address("::1"), Ok("[::1]:0".parse().unwrap()));
        assert_eq!(
            local_address("[::1]:4000"),
            Ok("[::1]:4000".parse().unwrap())
        );
        assert!(local_address("lo").is_err());
    }
}
