//! Upstreams of addresses that texts name: made when the first connection goes there.

use std::sync::{Arc, Mutex};

use moorline_config::{Config, Upstream, destination_address};
use moorline_net::Address;
use rustc_hash::FxHashMap;

use super::{SharedUpstream, lock};
use crate::peer_tls::PeerTls;

/// The most of them. The one that was used least recently gives way, if no relay has it.
pub(crate) const MOST_IMPLICIT: usize = 1024;
/// One that no connection has wanted for this long is forgotten, in milliseconds: its name is looked up again and again until then.
const UNUSED_MS: u64 = 60_000;

/// Upstreams of addresses, by the upstream whose settings they have, the address, and whether it is for datagrams.
#[derive(Debug, Default)]
pub(crate) struct Implicit(Mutex<FxHashMap<DestinationKey, Used>>);

type DestinationKey = (Option<String>, String, bool);

#[derive(Debug)]
struct Used {
    upstream: Arc<SharedUpstream>,
    at: u64,
}

/// Why a text leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoDestination {
    /// It is neither an upstream nor an address, for this reason.
    Wrong(String),
    /// There are relays to as many addresses as there may be.
    Full,
}

impl Implicit {
    /// The upstream of the address that this text names. True: it is new. `like`: the name of the one whose settings it has; `settings`
    /// finds those, and TLS towards its peers.
    ///
    /// # Errors
    /// It names none, or there are too many.
    pub(crate) fn get(
        &self,
        (text, is_datagram): (&str, bool),
        like: Option<&str>,
        settings: impl FnOnce() -> (Option<Upstream>, Option<Arc<PeerTls>>),
        now: u64,
    ) -> Result<(Arc<SharedUpstream>, bool), NoDestination> {
        let place = (like.map(str::to_owned), text.to_owned(), is_datagram);
        let mut known = lock(&self.0);
        if let Some(used) = known.get_mut(&place) {
            used.at = now;
            return Ok((used.upstream.clone(), false));
        }
        let address = destination_address(text, is_datagram).map_err(NoDestination::Wrong)?;
        let (like, tls) = settings();
        if lacks_tls(&address, like.as_ref()) {
            let problem = "its `upstream_like` names no upstream with `tls`";
            return Err(NoDestination::Wrong(problem.to_owned()));
        }
        if known.len() >= MOST_IMPLICIT {
            let unused = known.iter().filter(|(_, it)| it.is_unused());
            let oldest = unused
                .min_by_key(|(_, it)| it.at)
                .map(|(place, _)| place.clone());
            known.remove(&oldest.ok_or(NoDestination::Full)?);
        }
        let config = Upstream::of_address(text.to_owned(), address, like.as_ref());
        let upstream = SharedUpstream::new(config, now);
        let upstream = Arc::new(upstream.with_tls(tls));
        let used = Used {
            upstream: upstream.clone(),
            at: now,
        };
        known.insert(place, used);
        Ok((upstream, true))
    }

    /// Gives them the settings of this configuration. Those without any are forgotten.
    pub(crate) fn change(&self, config: &Config, tls: &FxHashMap<String, Arc<PeerTls>>, now: u64) {
        let mut known = lock(&self.0);
        known.retain(|(like, text, is_datagram), used| {
            let settings = like.as_ref().map(|like| config.upstream(like));
            let Ok(address) = destination_address(text, *is_datagram) else {
                return false;
            };
            let tls = like.as_ref().and_then(|like| tls.get(like)).cloned();
            let like = match settings {
                Some(None) => return false,
                Some(like) => like,
                None => None,
            };
            // New connections are refused, not relayed in plaintext.
            if lacks_tls(&address, like) {
                return false;
            }
            let changed = Upstream::of_address(text.clone(), address, like);
            used.upstream.replace(changed, tls, now);
            true
        });
    }

    /// Visits all of them. Those that are not used are forgotten.
    pub(crate) fn visit(&self, now: u64, mut visit: impl FnMut(&Arc<SharedUpstream>)) {
        let mut known = lock(&self.0);
        known.retain(|_, used| !used.is_unused() || now < used.at + UNUSED_MS);
        known.values().for_each(|used| visit(&used.upstream));
    }
}

/// Whether an address asks for TLS, and nothing says how its peer is verified.
fn lacks_tls(address: &Address, like: Option<&Upstream>) -> bool {
    matches!(address, Address::Tls(_)) && like.is_none_or(|like| like.tls.is_none())
}

impl Used {
    /// Whether no relay has it, and no look-up of its name runs.
    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.upstream) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(implicit: &Implicit, now: u64) -> usize {
        let mut count = 0;
        implicit.visit(now, |_| count += 1);
        count
    }

    #[test]
    fn there_are_only_so_many_and_the_oldest_unused_one_gives_way() {
        let implicit = Implicit::default();
        let get = |at: usize, now| {
            implicit.get(
                (&format!("10.0.0.1:{}", at + 1), false),
                None,
                || (None, None),
                now,
            )
        };
        let (held, is_new) = get(0, 0).expect("there is room");
        assert!(is_new);
        for at in 1..MOST_IMPLICIT {
            get(at, at as u64).expect("there is room");
        }
        get(MOST_IMPLICIT, 5000).expect("an unused one gives way");
        let (again, is_new) = get(0, 5000).expect("it is there");
        assert!(!is_new && Arc::ptr_eq(&held, &again));
        assert!(get(1, 5000).expect("another one gives way").1);
        let mut all = Vec::new();
        implicit.visit(5000, |upstream| all.push(upstream.clone()));
        assert_eq!(all.len(), MOST_IMPLICIT);
        assert_eq!(get(5000, 5000).map(drop), Err(NoDestination::Full));
        drop((all, again));
        assert_eq!(count(&implicit, 5000 + 2 * UNUSED_MS), 1);
    }

    #[test]
    fn an_address_with_tls_is_forgotten_when_a_reload_takes_tls_away() {
        let config = |tls: &str| {
            let text = format!(
                "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nupstream = \"${{client.address}}:1\"\nupstream_like = \"web\"\n\
                 [upstream.web]\npeers = []\n{tls}\n"
            );
            let loaded = moorline_config::load_text(&text, std::path::Path::new("/a.toml"));
            loaded.expect("it is right").config
        };
        let (safe, plain) = (config("tls = { verify = false }"), config(""));
        let implicit = Implicit::default();
        let get = |config: &Config| {
            let like = config.upstream("web");
            implicit
                .get(
                    ("tls://10.0.0.1:1", false),
                    Some("web"),
                    || (like.cloned(), None),
                    0,
                )
                .map(|(_, is_new)| is_new)
        };
        assert_eq!(get(&safe), Ok(true));
        implicit.change(&safe, &FxHashMap::default(), 0);
        assert_eq!(get(&safe), Ok(false));
        implicit.change(&plain, &FxHashMap::default(), 0);
        assert!(matches!(get(&plain), Err(NoDestination::Wrong(_))));
        assert_eq!(count(&implicit, 0), 0);
    }

    #[test]
    fn a_text_that_is_no_address_leads_nowhere() {
        for text in [
            "",
            "web",
            "10.0.0.1",
            "10.0.0.1:0",
            "http://a:1",
            "unix:",
            "a:b:c",
        ] {
            let got = Implicit::default()
                .get((text, false), None, || (None, None), 0)
                .map(drop);
            assert!(
                matches!(got, Err(NoDestination::Wrong(_))),
                "{text}: {got:?}"
            );
        }
        for text in [
            "10.0.0.1:1",
            "[::1]:1",
            "a.example:1",
            "tcp://a:1",
            "unix:/a",
            "unix:///a",
        ] {
            assert!(
                Implicit::default()
                    .get((text, false), None, || (None, None), 0)
                    .is_ok(),
                "{text}"
            );
        }
    }
}
