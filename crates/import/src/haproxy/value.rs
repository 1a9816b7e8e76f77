//! Times and addresses as HAProxy writes them.

/// A time in milliseconds: `5s`, `100ms`, `1m`; without a unit in milliseconds.
pub(super) fn time(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: u64 = number.parse().ok()?;
    match unit {
        "us" => Some(number.div_ceil(1000)),
        "" | "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    }
}

/// Where something listens or is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Where {
    Path(String),
    /// The host, with brackets around IPv6, and what stands behind the last colon.
    Host(String, Option<String>),
}

/// Reads an address with the prefixes that Moorline can express.
pub(super) fn address(text: &str) -> Result<Where, String> {
    if text.starts_with('/') {
        return Ok(Where::Path(text.to_owned()));
    }
    let (family, rest) = match text.split_once('@') {
        Some((family, rest)) => (family, rest),
        None => ("", text),
    };
    match family {
        "unix" | "uxst" if rest.starts_with('/') => return Ok(Where::Path(rest.to_owned())),
        "" | "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6" => {}
        _ => {
            return Err(format!(
                "{text:?} is an address that Moorline does not have"
            ));
        }
    }
    if rest.contains('$') {
        return Err("variables of the environment cannot be expressed: write their values".into());
    }
    if let Some(end) = rest.strip_prefix('[').and_then(|it| it.find(']')) {
        let (host, port) = rest.split_at(end + 2);
        let port = port.strip_prefix(':').map(str::to_owned);
        return Ok(Where::Host(host.to_owned(), port));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.to_owned())),
        None => (rest, None),
    };
    let host = match host {
        "" | "*" if family.ends_with('6') => "[::]".to_owned(),
        "" | "*" => "0.0.0.0".to_owned(),
        ipv6 if ipv6.contains(':') => format!("[{ipv6}]"),
        host => host.to_owned(),
    };
    Ok(Where::Host(host, port.filter(|it| !it.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_addresses_are_those_of_haproxy() {
        for (text, expected) in [
            ("5s", Some(5000)),
            ("5000", Some(5000)),
            ("1m", Some(60_000)),
            ("2h", Some(7_200_000)),
            ("1500us", Some(2)),
            ("x", None),
            ("1x", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
        let host = |host: &str, port: &str| {
            let port = (!port.is_empty()).then(|| port.to_owned());
            Ok(Where::Host(host.into(), port))
        };
        for (text, expected) in [
            (":80", host("0.0.0.0", "80")),
            ("*:80-90", host("0.0.0.0", "80-90")),
            (":::80", host("[::]", "80")),
            ("[::1]:80", host("[::1]", "80")),
            ("ipv6@:80", host("[::]", "80")),
            ("a.example:80", host("a.example", "80")),
            ("10.0.0.1", host("10.0.0.1", "")),
            ("/run/a", Ok(Where::Path("/run/a".into()))),
            ("unix@/run/a", Ok(Where::Path("/run/a".into()))),
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
        for text in ["abns@x", "fd@3", "udp@:80", "quic4@:443", "$HOST:80"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
