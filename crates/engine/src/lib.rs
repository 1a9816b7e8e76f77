//! Moorline's supervisor, gateway and workers.

pub mod command;
pub mod config;
pub mod control;
mod control_channel;
mod log;
pub mod role;
pub mod supervisor;
pub mod wire;

// ---- stand-ins, until the branches are merged
#[allow(missing_docs)]
pub mod app {
    pub trait App: Sized + 'static {}
}
mod gateway {
    pub(crate) fn run(_: crate::role::GatewayStart) -> std::io::Result<()> {
        Ok(())
    }
}
mod worker {
    pub(crate) fn run<A: crate::app::App>(_: crate::role::ProcessStart, _: impl FnOnce() -> A) -> std::io::Result<()> {
        Ok(())
    }
}
