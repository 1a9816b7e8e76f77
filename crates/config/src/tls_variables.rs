//! Variables of TLS: what a client asks for, and what has been agreed on with it.

use serde::{Deserialize, Serialize};

/// What TLS tells of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVariable {
    /// `${sni}`: the host that the client asks for.
    Sni,
    /// `${alpn}`: the protocols that it offers, with commas between them; where the listener has `tls`, the one that was agreed
    /// on.
    Alpn,
    /// `${hello.version}`: the newest version that it offers, as in `TLSv1.3`; where the listener has `tls`, the one that was
    /// agreed on.
    HelloVersion,
    /// `${tls.ciphers}`: the cipher suites that the client offers, as OpenSSL names them, with colons between them; those without a
    /// name in hex.
    Ciphers,
    /// `${tls.curves}`: the groups of the key exchange that it offers, likewise.
    Curves,
    /// `${tls.version}`: the version that was agreed on, as in `TLSv1.3`.
    Version,
    /// `${tls.cipher}`: the cipher suite, as OpenSSL names it.
    Cipher,
    /// `${tls.curve}`: the group of the key exchange.
    Curve,
    /// `${tls.resumed}`: `r` if an earlier session was resumed, else `.`.
    Resumed,
    /// `${tls.server_name}`: the host that the client has asked for.
    ServerName,
    /// `${tls.alpn}`: the protocol that was agreed on.
    Protocol,
    /// `${tls.client.subject}`: the subject of the client's certificate (RFC 2253).
    ClientSubject,
    /// `${tls.client.issuer}`: its issuer, likewise.
    ClientIssuer,
    /// `${tls.client.serial}`: its serial number in hex.
    ClientSerial,
    /// `${tls.client.fingerprint}`: its SHA-1 in hex.
    ClientFingerprint,
    /// `${tls.client.verify}`: `SUCCESS`, `FAILED:` and the reason, or `NONE` without a certificate.
    ClientVerify,
    /// `${tls.client.start}`: when it begins to hold, as in `Nov 29 14:05:06 2026 GMT`.
    ClientStart,
    /// `${tls.client.end}`: when it ends to hold.
    ClientEnd,
    /// `${tls.client.days}`: the days that it holds from now on.
    ClientDays,
    /// `${tls.client.certificate}`: the certificate in PEM.
    ClientCertificate,
    /// `${tls.client.certificate_tabbed}`: the same, with a tab in front of each line but the first, and no end of the last line.
    ClientCertificateTabbed,
    /// `${tls.client.certificate_escaped}`: the same, percent-encoded.
    ClientCertificateEscaped,
}

impl TlsVariable {
    /// Whether it is known before anything is decrypted.
    pub(super) fn is_of_hello(self) -> bool {
        matches!(
            self,
            Self::Sni | Self::Alpn | Self::HelloVersion | Self::Ciphers | Self::Curves
        )
    }

    /// Whether it is of a client's offer, which is forgotten unless a text has it.
    pub(super) fn is_of_offer(self) -> bool {
        matches!(self, Self::Ciphers | Self::Curves)
    }
}

/// Every one of them, as it is written.
pub(super) const TLS_VARIABLES: &[(&str, TlsVariable)] = &[
    ("sni", TlsVariable::Sni),
    ("alpn", TlsVariable::Alpn),
    ("hello.version", TlsVariable::HelloVersion),
    ("tls.ciphers", TlsVariable::Ciphers),
    ("tls.curves", TlsVariable::Curves),
    ("tls.version", TlsVariable::Version),
    ("tls.cipher", TlsVariable::Cipher),
    ("tls.curve", TlsVariable::Curve),
    ("tls.resumed", TlsVariable::Resumed),
    ("tls.server_name", TlsVariable::ServerName),
    ("tls.alpn", TlsVariable::Protocol),
    ("tls.client.subject", TlsVariable::ClientSubject),
    ("tls.client.issuer", TlsVariable::ClientIssuer),
    ("tls.client.serial", TlsVariable::ClientSerial),
    ("tls.client.fingerprint", TlsVariable::ClientFingerprint),
    ("tls.client.verify", TlsVariable::ClientVerify),
    ("tls.client.start", TlsVariable::ClientStart),
    ("tls.client.end", TlsVariable::ClientEnd),
    ("tls.client.days", TlsVariable::ClientDays),
    ("tls.client.certificate", TlsVariable::ClientCertificate),
    (
        "tls.client.certificate_tabbed",
        TlsVariable::ClientCertificateTabbed,
    ),
    (
        "tls.client.certificate_escaped",
        TlsVariable::ClientCertificateEscaped,
    ),
];
