//! The end of a child: what it has counted is kept, and its end is logged.

use moorline_protocol::command::Response;
use moorline_protocol::control::ProcessId;
use tracing::{error, info, warn};

use super::super::plan::{Child, Ended};
use super::Shell;
use super::children::{GatewayHandle, HelperHandle};

impl Shell {
    /// A child has ended. The plan does not know of it yet.
    pub(super) fn child_ended(&mut self, child: Child, end: Ended) {
        match child {
            Child::Gateway(incarnation) => self.gateway_ended(incarnation, end),
            Child::Process(process) => self.process_ended(process, end),
            Child::Helper(run) => self.helper_ended(run, end),
        }
    }

    fn gateway_ended(&mut self, incarnation: u32, end: Ended) {
        let is_it = |gateway: &mut GatewayHandle| gateway.incarnation == incarnation;
        let Some(gateway) = self.gateway.take_if(is_it) else {
            if let Some(other) = self.others.take(incarnation) {
                let pid = other.pid;
                info!(
                    pid,
                    incarnation, "the gateway (pid {pid}) beside the present one {end}"
                );
            }
            return;
        };
        let lost = self.tally.add_gateway(&gateway.board, gateway.loops);
        for (_, listing) in self.listing.drain() {
            let reason = "the gateway has ended".to_owned();
            listing.answers.give(Response::Refused(reason));
        }
        let pid = gateway.pid;
        let name = self.plan.name(Child::Gateway(incarnation));
        let is_expected = self.plan.is_expected(Child::Gateway(incarnation), end);
        let sessions = match lost {
            0 => String::new(),
            1 => ": 1 session was lost".to_owned(),
            lost => format!(": {lost} sessions were lost"),
        };
        if is_expected && lost == 0 {
            info!(pid, "{name} (pid {pid}) ended");
        } else if is_expected {
            warn!(pid, sessions = lost, "{name} (pid {pid}) ended{sessions}");
        } else {
            error!(
                pid,
                code = end.code,
                signal = end.signal,
                sessions = lost,
                "{name} (pid {pid}) {end}{sessions}"
            );
        }
    }

    fn process_ended(&mut self, id: ProcessId, end: Ended) {
        let Some(process) = self.processes.remove(&id) else {
            return;
        };
        self.tally.add_process(&process.board);
        let (pid, generation) = (process.pid, process.generation);
        let name = self.plan.name(Child::Process(id));
        if self.plan.is_expected(Child::Process(id), end) {
            info!(worker = name, pid, generation, "{name} (pid {pid}) ended");
            return;
        }
        self.tally.worker_exits += 1;
        let unasked = match end.is_success() {
            true => " without being told to stop",
            false => "",
        };
        error!(
            worker = name,
            pid,
            generation,
            code = end.code,
            signal = end.signal,
            "{name} (pid {pid}) {end}{unasked}"
        );
    }

    fn helper_ended(&mut self, run: u32, end: Ended) {
        if let Some(HelperHandle { name, pid }) = self.helpers.remove(&run) {
            info!(
                helper = name,
                pid,
                code = end.code,
                signal = end.signal,
                "helper {name} (pid {pid}) {end}"
            );
        }
    }
}
