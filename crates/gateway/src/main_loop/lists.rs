//! The list of all sessions and relays, for the operator.

use crate::commands::Report;
use crate::cx::unix_ms;
use crate::event_loop::Loop;
use crate::facts::row;
use crate::features::queries::{PLACES, ROWS};
use crate::ids::{RelayKey, UdpRelayKey};
use moorline_protocol::control::SessionRow;

/// The places of sessions come first, then those of relays, then those of relayed datagrams.
const OF_RELAYS: u32 = 1 << 30;
const OF_DATAGRAMS: u32 = 2 << 30;

/// Some rows, and the place to continue from, unless these were the last of their table.
type ListPage = (Vec<SessionRow>, Option<u32>);

impl Loop {
    /// Reports some sessions or relays, from this place on. Each keeps its place as long as it lives.
    pub(crate) fn list(&self, question: u64, place: u32) {
        let cx = &self.tools.cx;
        let (rows, next) = match place {
            OF_DATAGRAMS.. => {
                let at = |at| self.udp_relays.at(UdpRelayKey(at)).map(|it| it.row(cx));
                page(place, OF_DATAGRAMS, self.udp_relays.places(), at)
            }
            OF_RELAYS.. => {
                let at = |at| self.relays.at(RelayKey(at)).map(|it| it.row(cx));
                let (rows, next) = page(place, OF_RELAYS, self.relays.places(), at);
                (rows, next.or(Some(OF_DATAGRAMS)))
            }
            _ => {
                let now = unix_ms();
                let (page, next) = self.sessions.page(place, PLACES, ROWS, |_| true);
                let rows = page.into_iter().map(|it| row(it, now, cx));
                (rows.collect(), next.or(Some(OF_RELAYS)))
            }
        };
        cx.report(Report::Sessions {
            index: cx.index,
            question,
            rows,
            next,
        });
    }
}

/// Some rows of a table whose places are numbered from `first` on. `at`: the row at a place.
fn page(from: u32, first: u32, places: usize, at: impl Fn(u32) -> Option<SessionRow>) -> ListPage {
    let places = u32::try_from(places).unwrap_or(u32::MAX).min(OF_RELAYS);
    let mut rows = Vec::new();
    let mut next = from - first;
    let end = next.saturating_add(PLACES as u32).min(places);
    while next < end && rows.len() < ROWS {
        rows.extend(at(next));
        next += 1;
    }
    (rows, (next < places).then_some(first + next))
}
