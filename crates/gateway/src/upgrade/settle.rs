//! A loop that has stopped comes to rest: what is under way in it, and to other loops, arrives.

use crate::event_loop::Loop;
use crate::features::broadcasts::fan_out;

impl Loop {
    /// Sends the members of groups what is under way, and nothing else: no socket is read, no timer runs, and of the rings only
    /// what comes before an event of a group is taken. True: nothing is under way.
    pub(crate) fn settle(&mut self) -> bool {
        self.pass_on_events();
        fan_out(&mut self.groups, &mut self.sessions, &mut self.tools);
        self.end_receipts();
        self.relieve_if_asked();
        self.tools.processes.publish();
        let mut processes = self.tools.processes.iter();
        self.groups.is_quiet()
            && !self.events_wait()
            && processes.all(|(_, process)| process.events == 0)
    }
}
