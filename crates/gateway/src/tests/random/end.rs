//! The end of a random run: all messages are answered, and nothing is left over.

use std::time::Duration;

use moorline_ipc::Header;

use super::{Crowd, ROUND_ROBIN, last_label};
use moorline_protocol::control::{LoopCounter, Role};
use moorline_protocol::wire::FromProcess;

impl Crowd {
    /// Everybody does what is left, and nothing is lost by it. Then the loop stops.
    pub(super) fn end_well(&mut self) {
        self.finish_work();
        if self.has_more {
            self.end_requests();
            self.end_rooms();
        }
        if !self.is_hostile {
            self.check_answers();
            self.check_labels();
            let files: usize = self.script.processes.iter().map(|it| it.files()).sum();
            let open = self.script.open_files();
            assert_eq!((files, open), (0, 0), "files are left, and open");
        }
        let answered: usize = self.clients.iter().map(|it| it.echoes.len()).sum();
        let counted = [
            LoopCounter::Messages,
            LoopCounter::Redelivered,
            LoopCounter::Dropped,
            LoopCounter::ClosedByCrash,
            LoopCounter::Discarded,
        ];
        let counted = counted.map(|counter| (counter, self.script.count(counter)));
        self.pass(Duration::from_secs(4));
        self.stop();
        if self.has_more {
            self.forget_rooms();
            println!("{}, {}", self.asking, self.rooms);
        }
        println!(
            "{} clients, {answered} answers, {counted:?}",
            self.clients.len()
        );
    }

    /// New processes serve, and every session is read and has its last label.
    fn finish_work(&mut self) {
        for role in (0..self.workers).map(Role::Worker).chain([Role::Task(0)]) {
            self.script.attach(role);
        }
        self.script.activate(self.workers);
        for slot in 0..5 {
            self.exchange_suspect(slot, false);
        }
        // All pauses have arrived by then: a record that was written before may wait for room in another process's ring.
        self.script.settle(&mut self.clients);
        for session in self.known.clone() {
            let last = self.script.processes.len() - 1;
            let process = &mut self.script.processes[last];
            let header = |kind: FromProcess| Header {
                kind: kind as u8,
                session,
                ..Header::default()
            };
            process.push(header(FromProcess::Resume), &[]);
            process.push(header(FromProcess::SetLabel), &last_label(session));
        }
        for _ in 0..10 {
            self.script.settle(&mut self.clients);
            self.hear_reports();
        }
    }

    /// A session that is open has all its answers, unless messages may be dropped there. Answers are in order.
    fn check_answers(&self) {
        for client in &self.clients {
            let in_order = client.echoes.is_sorted_by(|one, next| one < next);
            assert!(in_order, "answers twice or out of order: {client:?}");
            if client.is_open() && client.listener() != ROUND_ROBIN {
                assert_eq!(
                    client.echoes.len() as u64,
                    client.lines(),
                    "answers and questions of {client:?}"
                );
            }
        }
    }

    /// A session that has ended takes no requests; the others have their last label.
    fn check_labels(&self) {
        for session in self.script.gateway.sessions.iter() {
            if self.known.contains(&session.id) && session.lives() {
                let label = session.app.label();
                assert_eq!(label, last_label(session.id), "of session {}", session.id);
            }
        }
    }
}
