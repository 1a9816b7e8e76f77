//! A stand-in that holds no session, until the gateway is merged.

use std::io;

use crate::control::{FromRole, ToRole};
use crate::control_channel::ControlChannel;
use crate::role::GatewayStart;

pub(crate) fn run(start: GatewayStart) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())?;
    runtime.block_on(async {
        let control = ControlChannel::new(start.control)?;
        for signal in [tokio::signal::unix::SignalKind::terminate(), tokio::signal::unix::SignalKind::hangup()] {
            tokio::signal::unix::signal(signal)?;
        }
        control.send(&FromRole::Ready, &[]).await?;
        let mut served = Vec::new();
        while let Some((message, fds)) = control.recv::<ToRole>().await? {
            tracing::info!(?message, fds = fds.len(), "gateway heard");
            match message {
                ToRole::Activate { serving, .. } => {
                    for process in served.iter().filter(|process| !serving.contains(process)) {
                        control.send(&FromRole::Released { process: *process }, &[]).await?;
                    }
                    served = serving;
                }
                ToRole::ListSessions { .. } => control.send(&FromRole::Sessions(Vec::new()), &[]).await?,
                ToRole::Stop { .. } => control.send(&FromRole::Drained, &[]).await?,
                _ => {}
            }
        }
        Ok(())
    })
}
