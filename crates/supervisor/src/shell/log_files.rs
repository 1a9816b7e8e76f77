//! Log files that were moved away are opened again.

use tracing::{error, info};

use moorline_process::log;
use moorline_protocol::control::ToRole;

use super::Shell;
use super::children::GatewayHandle;

impl Shell {
    pub(super) fn reopen_log(&mut self) {
        let [generation, _] = self.plan.generations();
        let Some(log) = self
            .deployments
            .get(&generation)
            .map(|deployment| &deployment.config.engine.log)
        else {
            return;
        };
        let reopened = log::open(log).and_then(|file| {
            // What workers write comes through this process.
            let successor = self.others.successor.as_ref().map(|it| &it.handle);
            let gateways = self.gateway.iter().chain(successor);
            for gateway in gateways.filter_map(GatewayHandle::outbox_behind_start) {
                let again = file.as_ref().map(log::open_again).transpose()?;
                // Its access logs are its own. A process that is ending needs no log any more.
                let _ = gateway.send(&ToRole::ReopenLog, again.into_iter().collect());
            }
            if let Some(file) = file {
                log::reopen(file);
            }
            Ok(())
        });
        for deployment in self.deployments.values_mut() {
            // A file that a reload has opened was moved away, too. A reload that is not committed may log elsewhere.
            if let Ok(Some(file)) = log::open(&deployment.config.engine.log) {
                deployment.log = Some(file);
            }
        }
        match reopened {
            Ok(()) => info!("log files reopened"),
            Err(error) => error!(%error, "log files cannot be reopened"),
        }
    }
}
