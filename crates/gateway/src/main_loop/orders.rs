//! The commands of the main thread and of other loops, and what comes of each.

use std::sync::mpsc::Receiver;

use moorline_protocol::wire::CloseReason;

use crate::commands::{Attached, Command, Report};
use crate::event_loop::Loop;
use crate::event_loop::census::Census;
use crate::processes::process::Process;
use crate::tools::Tools;

impl Loop {
    /// Executes the commands that have come.
    pub(crate) fn obey_all(&mut self, commands: &Receiver<Command>) {
        let cx = &self.tools.cx;
        cx.peers[usize::from(cx.index)].hear();
        // What follows an order to stand still is for a loop that does.
        while !self.stands
            && let Ok(command) = commands.try_recv()
        {
            self.obey(command);
        }
    }

    pub(crate) fn obey(&mut self, command: Command) {
        match command {
            Command::Accepted {
                socket,
                listener,
                peer,
                counted,
            } => {
                self.tools.cx.shared.door(listener).begin();
                self.open_new(socket, listener, peer, counted);
            }
            Command::Returned {
                socket,
                listener,
                peer,
                arrival,
            } => self.open(socket, listener, peer, arrival),
            Command::Refused(limit) => {
                let cx = &self.tools.cx;
                cx.count_closed(CloseReason::Handshake);
                if let Some(limit) = limit {
                    cx.count_limit(limit);
                }
            }
            Command::Attach(attached) => self.attach(*attached),
            Command::Activate {
                workers,
                serving,
                setup,
            } => {
                if let Some(setup) = setup {
                    self.configure(*setup);
                }
                self.activate(workers, &serving);
            }
            Command::Show(tls) => self.show(tls),
            Command::Dead { process, death } => self.remove_process(process, death),
            Command::File {
                process,
                number,
                file,
            } => self.files.arrive(process, number, file, &mut self.tools),
            Command::EventDone { from, bytes } => self.end_event(from, bytes),
            Command::WatchHistories => self.watch_histories(),
            Command::Silent(silent) => {
                self.census = Some(Census::begin(&silent, &mut self.tools.processes));
            }
            Command::LeavePeer { upstream, peer } => self.leave_peer(&upstream, peer),
            Command::Stop(order) => self.stop(&order),
            Command::Drain(order) => self.begin_drain(&order),
            Command::Exchange(order) => self.exchanges.obey(order, &mut self.tools),
            Command::List { question, place } => self.list(question, place),
            Command::Close { question, id } => {
                let is_there = self.close_by_order(id);
                self.tools.cx.report(Report::Closed { question, is_there });
            }
            Command::CountRequests => self.report_requests(),
            Command::Stand => self.begin_to_stand(),
            // For a loop that stands still.
            Command::GoOn | Command::Settle | Command::HandOver(_) => {}
            Command::StopAccepting(listeners) => self.stop_accepting(listeners),
        }
    }

    fn report_requests(&self) {
        let requests = self.exchanges.len();
        self.tools.cx.report(Report::Requests(requests));
    }

    /// Hears a process from now on.
    fn attach(&mut self, attached: Attached) {
        let Attached {
            process,
            role,
            pid,
            region,
            doorbell,
            chime,
        } = attached;
        let Tools { cx, processes, .. } = &mut self.tools;
        let heard = self.poller.watch_process(processes.next_key(), &chime);
        if heard.is_ok() {
            let rules = cx.config.clone();
            processes.insert(Process::new(
                (process, pid),
                role,
                region,
                doorbell,
                chime,
                rules,
            ));
        }
        let heard = heard.map_err(|error| format!("its doorbell cannot be waited on: {error}"));
        cx.report(Report::Attached(process, heard));
    }
}
