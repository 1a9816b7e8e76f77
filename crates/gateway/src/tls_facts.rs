//! What TLS tells of a client's connection, for texts.

use moorline_config::TlsVariable;
use moorline_net::tls::{CertificateFacts, ClientVerdict, TlsRecords, TlsVersion};
use moorline_proxy::Text;

use crate::client_hello::{ClientHello, Offer};

/// What is known of it: by its hello, where TLS passes through, or by the handshake, where it ends here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TlsFacts<'a> {
    pub(crate) hello: Option<&'a ClientHello>,
    pub(crate) tls: Option<&'a TlsRecords>,
    pub(crate) offer: Option<&'a Offer>,
}

impl TlsFacts<'_> {
    /// The host that the client asks for.
    pub(crate) fn name(&self) -> Option<&str> {
        let hello = self.hello.map(|hello| &*hello.sni);
        hello.or_else(|| self.tls?.server_name())
    }

    /// Appends the value of this variable, or nothing if it is not known.
    pub(crate) fn write(&self, variable: TlsVariable, text: &mut Text) {
        if let Some(offer) = self.offer {
            match variable {
                TlsVariable::Ciphers => text.push(offer.suite_names().as_bytes()),
                TlsVariable::Curves => text.push(offer.group_names().as_bytes()),
                _ => {}
            }
        }
        if let Some(hello) = self.hello {
            match variable {
                // Where TLS ends here, and has not begun.
                TlsVariable::ServerName if self.tls.is_some() => text.push(hello.sni.as_bytes()),
                TlsVariable::Sni => text.push(hello.sni.as_bytes()),
                TlsVariable::Alpn => text.push(hello.alpn.as_bytes()),
                TlsVariable::HelloVersion => text.push(hello.version.as_bytes()),
                _ => {}
            }
        }
        if let Some(tls) = self.tls {
            write(variable, tls, text);
        }
    }
}

fn write(variable: TlsVariable, tls: &TlsRecords, text: &mut Text) {
    match variable {
        TlsVariable::Sni | TlsVariable::ServerName => {
            text.push(tls.server_name().unwrap_or_default().as_bytes());
        }
        TlsVariable::Alpn | TlsVariable::Protocol => text.push(tls.alpn().unwrap_or_default()),
        TlsVariable::Version | TlsVariable::HelloVersion => text.push(match tls.version() {
            Some(TlsVersion::Tls12) => b"TLSv1.2",
            Some(TlsVersion::Tls13) => b"TLSv1.3",
            _ => b"",
        }),
        TlsVariable::Cipher => text.push(tls.cipher().unwrap_or_default().as_bytes()),
        TlsVariable::Curve => text.push(tls.curve().unwrap_or_default().as_bytes()),
        TlsVariable::Resumed => text.push(if tls.is_resumed() { b"r" } else { b"." }),
        TlsVariable::ClientVerify => match tls.client_verdict() {
            ClientVerdict::None => text.push(b"NONE"),
            ClientVerdict::Success => text.push(b"SUCCESS"),
            ClientVerdict::Failed(why) => {
                text.push(b"FAILED:");
                text.push(why.as_bytes());
            }
            _ => {}
        },
        _ => {
            if let Some(facts) = tls.peer_certificate().and_then(CertificateFacts::read) {
                write_certificate(variable, &facts, text);
            }
        }
    }
}

fn write_certificate(variable: TlsVariable, facts: &CertificateFacts<'_>, text: &mut Text) {
    let value = match variable {
        TlsVariable::ClientSubject => facts.subject(),
        TlsVariable::ClientIssuer => facts.issuer(),
        TlsVariable::ClientSerial => facts.serial(),
        TlsVariable::ClientFingerprint => facts.fingerprint(),
        TlsVariable::ClientStart => facts.start(),
        TlsVariable::ClientEnd => facts.end(),
        TlsVariable::ClientDays => facts.days().to_string(),
        TlsVariable::ClientCertificate => facts.pem(),
        TlsVariable::ClientCertificateTabbed => facts.pem().trim_end().replace('\n', "\n\t"),
        TlsVariable::ClientCertificateEscaped => escaped(&facts.pem()),
        _ => return,
    };
    text.push(value.as_bytes());
}

/// With all but letters, digits and `-`, `_`, `.`, `~` percent-encoded.
fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| match is_plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_cannot_have_is_percent_encoded() {
        assert_eq!(escaped("a-Z_0.~ +/=\n"), "a-Z_0.~%20%2B%2F%3D%0A");
    }
}
