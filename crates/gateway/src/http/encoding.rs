//! Which encoding of a file a client gets: files that were compressed beforehand lie beside their originals.

use hyper::header::{self, HeaderMap};

/// How the bytes of a file are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Gzip,
}

impl Encoding {
    /// Those that are looked for, the smaller result first.
    const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// Its name in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// What a name of a file so encoded ends with.
    pub(super) fn suffix(self) -> &'static [u8] {
        match self {
            Self::Brotli => b".br",
            Self::Gzip => b".gz",
        }
    }
}

/// The encodings that a client prefers to the file as it is, the best first (RFC 9110 §12.5.3).
pub(super) fn accepted(headers: &HeaderMap) -> impl Iterator<Item = Encoding> + use<> {
    let mut weights = Weights::default();
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            weights.note(part);
        }
    }
    let weight = move |encoding| match encoding {
        Encoding::Brotli => weights.brotli,
        Encoding::Gzip => weights.gzip,
    };
    let weight = move |encoding| weight(encoding).or(weights.others).unwrap_or(0);
    // A client that does not name it takes it if there is nothing better.
    let plain = weights.identity.unwrap_or(0);
    let mut all = Encoding::ALL;
    // Stable: equal ones stay in their order.
    all.sort_by_key(|encoding| std::cmp::Reverse(weight(*encoding)));
    all.into_iter()
        .filter(move |encoding| weight(*encoding) > 0 && weight(*encoding) >= plain)
}

/// The weights that a client has given, in thousandths.
#[derive(Default)]
struct Weights {
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    others: Option<u16>,
}

impl Weights {
    /// Notes `name [";" "q=" weight]`; anything else is ignored.
    fn note(&mut self, part: &[u8]) {
        let mut words = part.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let of_name = match &*name {
            b"br" => &mut self.brotli,
            b"gzip" | b"x-gzip" => &mut self.gzip,
            b"identity" => &mut self.identity,
            b"*" => &mut self.others,
            _ => return,
        };
        let weight = match words.next() {
            None => Some(1000),
            Some([b'q' | b'Q', b'=', digits @ ..]) => thousandths(digits),
            Some(_) => None,
        };
        if let Some(weight) = weight {
            *of_name = Some(weight);
        }
    }
}

/// `0`, `1`, or with up to three digits after a point.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let mut weight = digit(*whole)? * 1000;
    for (byte, unit) in fraction.iter().zip([100, 10, 1]) {
        weight += digit(*byte)? * unit;
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn names(accept: &[&'static str]) -> Vec<&'static str> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        accepted(&headers).map(Encoding::name).collect()
    }

    #[test]
    fn a_client_gets_the_encoding_of_the_greatest_weight_that_it_takes() {
        for (accept, expected) in [
            (&[][..], &[][..]),
            (&[""], &[]),
            (&["gzip, deflate, br, zstd"], &["br", "gzip"]),
            (&["gzip", "br"], &["br", "gzip"]),
            (&["gzip"], &["gzip"]),
            (&["X-GZIP"], &["gzip"]),
            (&["gzip;q=0"], &[]),
            (&["gzip;q=0.000, br"], &["br"]),
            (&["br;q=0.1, gzip;q=0.9"], &["gzip", "br"]),
            (&["br; q=0.1 , gzip ;q=0.1"], &["br", "gzip"]),
            (&["*"], &["br", "gzip"]),
            (&["*;q=0"], &[]),
            (&["*, br;q=0"], &["gzip"]),
            (&["identity, gzip;q=0.5"], &[]),
            (&["identity;q=0.5, gzip"], &["gzip"]),
            (&["identity;q=0.5, gzip;q=0.5"], &["gzip"]),
            (&["deflate"], &[]),
            (
                &["gzip;q=2, br;q=1.001, br;q=0.1234, gzip;q=x, gzip;level=9"],
                &[],
            ),
        ] {
            assert_eq!(names(accept), expected, "{accept:?}");
        }
    }
}
