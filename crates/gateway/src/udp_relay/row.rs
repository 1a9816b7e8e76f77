//! A relay of datagrams as the operator sees it.

use crate::cx::{Cx, unix_ms};
use crate::relay::number;
use crate::udp_relay::UdpRelay;
use moorline_protocol::control::{RelayRow, SessionRow};

impl UdpRelay {
    /// The facts for the operator.
    pub(crate) fn row(&self, cx: &Cx) -> SessionRow {
        let meters = &self.meters;
        let [received, sent] = meters.bytes;
        SessionRow {
            id: number(self.name.serial, cx).into(),
            listener: cx.listener(self.client.listener).name.clone(),
            peer: self.shown.to_string(),
            label: String::new(),
            worker: None,
            age_s: unix_ms().saturating_sub(meters.begun_at) / 1000,
            idle_s: cx.clock.ms.saturating_sub(meters.active_at) / 1000,
            messages: meters.requests,
            received,
            sent,
            queued: self.held() as u64,
            relay: Some(RelayRow {
                upstream: self.upstream.name.clone(),
                peer: self.peer.as_ref().map(|it| format!("udp://{}", it.address)),
                attempts: self.attempts,
            }),
        }
    }
}
