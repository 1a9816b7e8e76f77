//! From a client's offer to the server's answer (RFC 7692 §5 and §7.1).

use super::{Direction, MAX_WINDOW_BITS, MIN_WINDOW_BITS, Parameters};

const NAME: &str = "permessage-deflate";
/// The smallest window that an offer may name.
const LEAST_BITS: u8 = 8;

/// Answers an offer: the values of a request's `Sec-WebSocket-Extensions`.
///
/// The first offer of permessage-deflate that can be met within `allowed` is: its parameters, and the value of the
/// response's header. `None`: there is no such offer, and messages are not compressed.
///
/// Where `allowed` has a context takeover or a larger window, a client may still ask for less. A client that has not said
/// that its window can be limited keeps the largest.
pub fn negotiate<'a>(
    offers: impl IntoIterator<Item = &'a str>,
    allowed: &Parameters,
) -> Option<(Parameters, String)> {
    offers
        .into_iter()
        .flat_map(|value| split(value, ','))
        .find_map(|offer| answer(&Offer::parse(offer)?, allowed))
}

/// One offer of permessage-deflate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl Offer {
    /// `None`: another extension, or parameters that this one does not have, or has once (§7.1).
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text, ';').map(|part| part.trim_matches([' ', '\t']));
        if !parts.next()?.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut offer = Self::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
                None => (part, None),
            };
            let is_new = match (name.to_ascii_lowercase().as_str(), value) {
                ("server_no_context_takeover", None) => {
                    !std::mem::replace(&mut offer.server_no_context_takeover, true)
                }
                ("client_no_context_takeover", None) => {
                    !std::mem::replace(&mut offer.client_no_context_takeover, true)
                }
                ("server_max_window_bits", Some(value)) => {
                    offer.server_max_window_bits.replace(bits(value)?).is_none()
                }
                ("client_max_window_bits", value) => {
                    let bits = value.map_or(Some(MAX_WINDOW_BITS), bits)?;
                    offer.client_max_window_bits.replace(bits).is_none()
                }
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(offer)
    }
}

fn answer(offer: &Offer, allowed: &Parameters) -> Option<(Parameters, String)> {
    let most = offer.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
    if most < MIN_WINDOW_BITS {
        return None;
    }
    let server = Direction {
        context_takeover: allowed.server.context_takeover && !offer.server_no_context_takeover,
        window_bits: allowed.server.window_bits.min(most),
    };
    // One that would limit itself further needs no word of ours.
    let limits_client = offer
        .client_max_window_bits
        .is_some_and(|bits| bits > allowed.client.window_bits);
    let client = Direction {
        context_takeover: allowed.client.context_takeover && !offer.client_no_context_takeover,
        window_bits: match limits_client {
            true => allowed.client.window_bits,
            false => MAX_WINDOW_BITS,
        },
    };
    let mut answer = NAME.to_owned();
    if !server.context_takeover {
        answer.push_str("; server_no_context_takeover");
    }
    if !client.context_takeover {
        answer.push_str("; client_no_context_takeover");
    }
    if offer.server_max_window_bits.is_some() || server.window_bits < MAX_WINDOW_BITS {
        answer.push_str(&format!("; server_max_window_bits={}", server.window_bits));
    }
    if limits_client {
        answer.push_str(&format!("; client_max_window_bits={}", client.window_bits));
    }
    Some((Parameters { server, client }, answer))
}

/// A number of bits without leading zeros.
fn bits(text: &str) -> Option<u8> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let bits = text.parse().ok().filter(|_| is_plain)?;
    (LEAST_BITS..=MAX_WINDOW_BITS)
        .contains(&bits)
        .then_some(bits)
}

/// The inside of a quoted string, which needs no escape for any value that is known here.
fn unquoted(text: &str) -> &str {
    let inside = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inside.unwrap_or(text)
}

/// The parts between separators that are not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        let is_plain = !std::mem::take(&mut is_escaped);
        match character {
            '"' if is_plain => is_quoted = !is_quoted,
            '\\' if is_plain && is_quoted => is_escaped = true,
            _ => {}
        }
        character == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameters(server: (bool, u8), client: (bool, u8)) -> Parameters {
        let direction = |(context_takeover, window_bits)| Direction {
            context_takeover,
            window_bits,
        };
        Parameters {
            server: direction(server),
            client: direction(client),
        }
    }

    fn answer_to(offers: &[&str], allowed: &Parameters) -> Option<String> {
        negotiate(offers.iter().copied(), allowed).map(|(_, answer)| answer)
    }

    #[test]
    fn an_offer_is_answered_within_what_both_allow() {
        let all = parameters((true, 15), (true, 15));
        let least = parameters((false, 9), (false, 10));
        for (offer, by_all, by_least) in [
            (
                "permessage-deflate",
                "",
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
            ),
            (
                "permessage-deflate; client_max_window_bits",
                "",
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=10",
            ),
            (
                "Permessage-Deflate ; server_max_window_bits = \"12\";client_max_window_bits=9",
                "; server_max_window_bits=12",
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
            ),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                "; server_no_context_takeover; client_no_context_takeover",
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
            ),
        ] {
            let with_name = |rest| Some(format!("{NAME}{rest}"));
            assert_eq!(answer_to(&[offer], &all), with_name(by_all), "{offer}");
            assert_eq!(answer_to(&[offer], &least), with_name(by_least), "{offer}");
        }
    }

    #[test]
    fn the_first_offer_that_can_be_met_is() {
        let all = parameters((true, 15), (true, 15));
        let first = |offers: &[&str]| answer_to(offers, &all);
        assert_eq!(
            first(&[
                "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=8",
                "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            ]),
            Some("permessage-deflate; server_max_window_bits=10".into())
        );
        assert_eq!(
            first(&["permessage-deflate; x=\"a, permessage-deflate\", permessage-deflate"]),
            Some("permessage-deflate".into())
        );
        for refused in [
            "",
            ",",
            "x",
            "permessage-deflate; unknown",
            "permessage-deflate;",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=010",
            "permessage-deflate; client_max_window_bits=9; client_max_window_bits=9",
        ] {
            assert_eq!(first(&[refused]), None, "{refused}");
        }
    }

    fn any_parameters() -> impl Strategy<Value = Parameters> {
        let direction = || (any::<bool>(), MIN_WINDOW_BITS..=MAX_WINDOW_BITS);
        (direction(), direction()).prop_map(|(server, client)| parameters(server, client))
    }

    /// The words of offers, and what is between them.
    fn any_offer() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            NAME,
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits",
            "client_max_window_bits",
            "=8",
            "=9",
            "=12",
            "=\"15\"",
            "; ",
            ";",
            ", ",
            "\"",
            "\\",
            " ",
            "\u{e9}",
        ]);
        prop::collection::vec(words, 0..12).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn an_answer_keeps_to_the_offer_and_to_what_is_allowed(
            offers in prop::collection::vec(any_offer(), 0..3),
            allowed in any_parameters(),
        ) {
            let Some((agreed, answer)) = negotiate(offers.iter().map(String::as_str), &allowed) else {
                return Ok(());
            };
            // A client reads the answer by the same grammar, with which it says what is agreed.
            let said = Offer::parse(&answer).expect("an answer is one of the extension");
            prop_assert_eq!(said.server_no_context_takeover, !agreed.server.context_takeover);
            prop_assert_eq!(said.client_no_context_takeover, !agreed.client.context_takeover);
            let bits = said.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
            prop_assert_eq!(bits, agreed.server.window_bits);
            let bits = said.client_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
            prop_assert_eq!(bits, agreed.client.window_bits);
            prop_assert!(agreed.server.window_bits <= allowed.server.window_bits);
            prop_assert!(allowed.server.context_takeover || !agreed.server.context_takeover);
            prop_assert!(allowed.client.context_takeover || !agreed.client.context_takeover);
            // It answers one of the offers.
            let mut parsed = offers
                .iter()
                .flat_map(|value| split(value, ','))
                .filter_map(Offer::parse);
            let meets = |offer: &Offer| {
                offer.server_max_window_bits.is_none_or(|most| {
                    said.server_max_window_bits.is_some_and(|bits| bits <= most)
                }) && (said.client_max_window_bits.is_none()
                    || offer.client_max_window_bits >= said.client_max_window_bits)
                    && (said.server_no_context_takeover || !offer.server_no_context_takeover)
            };
            prop_assert!(parsed.any(|offer| meets(&offer)), "{:?} for {:?}", answer, offers);
        }
    }
}
