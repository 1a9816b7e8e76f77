//! A relay as the operator sees it.

use crate::cx::{Cx, unix_ms};
use crate::ids::Side;
use crate::relay::{Relay, RelayStage, number};
use moorline_protocol::control::{RelayRow, SessionRow};

impl Relay {
    /// The facts for the operator.
    pub(crate) fn row(&self, cx: &Cx) -> SessionRow {
        let meters = &self.meters;
        let peer = match &self.stage {
            RelayStage::Connecting(connecting) => {
                connecting.present.as_ref().map(|it| it.address.to_string())
            }
            RelayStage::Joined(joined) => Some(joined.address.to_string()),
            RelayStage::Answered => None,
        };
        SessionRow {
            id: number(self.name.serial, cx).into(),
            listener: cx.listener(self.listener).name.clone(),
            peer: self.client.to_string(),
            label: String::new(),
            worker: None,
            age_s: unix_ms().saturating_sub(meters.begun_at) / 1000,
            idle_s: cx.clock.ms.saturating_sub(meters.active_at) / 1000,
            messages: 0,
            received: self.way(Side::Client).bytes,
            sent: self.way(Side::Upstream).bytes,
            queued: self.ways.iter().map(|way| way.held() as u64).sum(),
            relay: Some(RelayRow {
                upstream: self.upstream.name.clone(),
                peer,
                attempts: self.attempts(),
            }),
        }
    }
}
