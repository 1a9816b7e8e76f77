//! SOCKS version 5 (RFC 1928), with user and password (RFC 1929).
//!
//! Every reply has a length that is known before it is read, at most 262 bytes, so whatever the proxy sends
//! behind the last one is the target's and stays in the socket.

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::credentials::Credentials;
use crate::address::HostPort;
use crate::dial::error::ConnectCause;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const AUTHENTICATION_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks the proxy at the other end of `stream` to connect to `target`.
pub(super) async fn open(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &HostPort,
    credentials: Option<&Credentials>,
) -> Result<(), ConnectCause> {
    // Both are made first: an unsendable request must not be begun.
    let authentication = credentials.map(authentication).transpose()?;
    let request = request(target)?;

    let offer: &[u8] = match authentication {
        None => &[VERSION, 1, NO_AUTHENTICATION],
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
    };
    stream.write_all(offer).await?;
    match (read(stream).await?, authentication) {
        ([VERSION, NO_AUTHENTICATION], _) => {}
        ([VERSION, USER_AND_PASSWORD], Some(authentication)) => {
            stream.write_all(&authentication).await?;
            let [_, status] = read(stream).await?;
            if status != 0 {
                return Err(refused("it refused the user or the password"));
            }
        }
        ([VERSION, NONE_ACCEPTABLE], None) => {
            return Err(refused("it wants a user and a password: give them"));
        }
        ([VERSION, _], _) => return Err(refused("it accepts no authentication that we have")),
        _ => return Err(no_socks()),
    }

    stream.write_all(&request).await?;
    let [version, reply, _, kind] = read(stream).await?;
    if version != VERSION {
        return Err(no_socks());
    }
    if reply != 0 {
        return Err(refused(meaning(reply)));
    }
    // The address that the proxy connected from: of no use here, but to be read.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let [length] = read(stream).await?;
            usize::from(length)
        }
        _ => return Err(no_socks()),
    };
    let mut bound = [0; 255 + 2];
    stream.read_exact(&mut bound[..length + 2]).await?;
    Ok(())
}

async fn read<const N: usize>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<[u8; N], ConnectCause> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn authentication(credentials: &Credentials) -> Result<Vec<u8>, ConnectCause> {
    let Credentials { user, password } = credentials;
    let (Ok(user_length @ 1..), Ok(password_length)) =
        (u8::try_from(user.len()), u8::try_from(password.len()))
    else {
        return Err(ConnectCause::Invalid(
            "a SOCKS5 proxy takes a user of 1 to 255 bytes and a password of at most 255".into(),
        ));
    };
    let mut message = vec![AUTHENTICATION_VERSION, user_length];
    message.extend_from_slice(user.as_bytes());
    message.push(password_length);
    message.extend_from_slice(password.as_bytes());
    Ok(message)
}

fn request(target: &HostPort) -> Result<Vec<u8>, ConnectCause> {
    let mut message = vec![VERSION, CONNECT, 0];
    match target.ip() {
        Some(IpAddr::V4(ip)) => {
            message.push(IPV4);
            message.extend_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            message.push(IPV6);
            message.extend_from_slice(&ip.octets());
        }
        None => {
            let Ok(length) = u8::try_from(target.host.len()) else {
                return Err(ConnectCause::Invalid(
                    "a SOCKS5 proxy takes a name of at most 255 bytes".into(),
                ));
            };
            message.extend_from_slice(&[NAME, length]);
            message.extend_from_slice(target.host.as_bytes());
        }
    }
    message.extend_from_slice(&target.port.to_be_bytes());
    Ok(message)
}

/// RFC 1928 §6.
fn meaning(reply: u8) -> &'static str {
    match reply {
        1 => "it failed to connect onward",
        2 => "its rules forbid this connection",
        3 => "the network is unreachable from it",
        4 => "the host is unreachable from it",
        5 => "the target refused the connection",
        6 => "the way from it to the target is too long (TTL expired)",
        7 => "it does not do CONNECT",
        8 => "it does not know this type of address",
        _ => "it failed for a reason of its own",
    }
}

fn refused(words: &str) -> ConnectCause {
    ConnectCause::Proxy(words.to_owned())
}

fn no_socks() -> ConnectCause {
    refused("what it answers is no SOCKS5")
}
