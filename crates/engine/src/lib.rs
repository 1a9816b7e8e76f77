//! Moorline's supervisor, gateway and workers.

pub mod command;
pub mod config;
pub mod control;
pub(crate) mod control_channel;
pub(crate) mod log;
pub mod role;
pub mod supervisor;
pub mod wire;

// ---- stand-ins
/// x
pub trait App: Sized + 'static {}
pub(crate) mod gateway {
    pub(crate) fn run(_: crate::role::GatewayStart) -> std::io::Result<()> {
        Ok(())
    }
}
pub(crate) mod worker {
    pub(crate) fn run<A: crate::App>(_: crate::role::ProcessStart, _: impl FnOnce() -> A) -> std::io::Result<()> {
        Ok(())
    }
}
