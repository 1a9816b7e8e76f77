//! What apps ask for, from within a worker or task worker.

use std::time::Duration;

use moorline_protocol::command::Response;
use moorline_protocol::control::{ANSWER_PART, APP_REQUESTS, AppRequest, ProcessId, ToRole};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::super::control_socket::Answers;
use super::super::input::Input;
use super::super::plan::{Child, Event};
use super::Shell;

/// One process gets the state once in this time, and all get the same. A worker answers its app from what it has got meanwhile.
const STATUS_PERIOD: Duration = Duration::from_millis(100);
/// A process that leaves more messages unread than this gets no long answers.
const MOST_UNREAD: usize = 64;

impl Shell {
    pub(super) fn app_asks(&mut self, process: ProcessId, number: u64, request: AppRequest) {
        if let Err(reason) = self.may_ask(process) {
            self.answer_app(process, number, Err(reason));
            return;
        }
        let name = self.plan.name(Child::Process(process));
        match request {
            AppRequest::Stop => {
                // A second order to stop would end the engine at once.
                if !self.plan.is_stopping() {
                    info!("the app in {name} asks for a stop");
                    self.notifier.stopping();
                    self.tell(Event::StopAsked);
                }
                self.answer_app(process, number, Ok("stopping".to_owned()));
            }
            AppRequest::Reload => {
                info!("the app in {name} asks for a reload");
                let answers = self.app_waits(process, number);
                let caller = self.new_caller(answers);
                let by = process;
                self.tell(Event::AppReloadAsked { by, caller });
            }
            AppRequest::Status => self.app_asks_status(process, number),
        }
    }

    /// Answers now, or once a little time has passed since the answer before.
    fn app_asks_status(&mut self, process: ProcessId, number: u64) {
        let Some(found) = self.processes.get_mut(&process) else {
            return;
        };
        found.asks += 1;
        let now = Instant::now();
        let due = found.status_due.map_or(now, |due| due.max(now));
        found.status_due = Some(due + STATUS_PERIOD);
        if due == now {
            self.tell_app_status(process, number);
            return;
        }
        let inputs = self.inputs.clone();
        spawn_local(async move {
            sleep_until(due).await;
            // The shell may have ended.
            let _ = inputs.send(Input::AppStatusDue(process, number)).await;
        });
    }

    /// All processes get the same text for a while.
    pub(super) fn tell_app_status(&mut self, process: ProcessId, number: u64) {
        let is_new = |at: &Instant| at.elapsed() < STATUS_PERIOD;
        let text = match self.app_status.take().filter(|(at, _)| is_new(at)) {
            Some(status) => status,
            None => (Instant::now(), self.status().to_string()),
        };
        self.app_answered(process, number, Ok(text.1.clone()));
        self.app_status = Some(text);
    }

    /// Notes that an app waits for an answer. Returns the way back to it.
    fn app_waits(&mut self, process: ProcessId, number: u64) -> Answers {
        if let Some(found) = self.processes.get_mut(&process) {
            found.asks += 1;
        }
        let (answers, waiting) = Answers::within();
        let inputs = self.inputs.clone();
        spawn_local(async move {
            let outcome = last_answer(waiting).await;
            // The shell may have ended.
            let _ = inputs
                .send(Input::AppAnswered(process, number, outcome))
                .await;
        });
        answers
    }

    fn may_ask(&self, process: ProcessId) -> Result<(), String> {
        if !self.plan.serves(process) {
            return Err("this process does not serve yet".to_owned());
        }
        let found = self.processes.get(&process);
        if found.is_none_or(|found| found.asks >= APP_REQUESTS) {
            return Err(format!("more than {APP_REQUESTS} requests at a time"));
        }
        Ok(())
    }

    pub(super) fn app_answered(
        &mut self,
        process: ProcessId,
        number: u64,
        outcome: Result<String, String>,
    ) {
        // It may have ended meanwhile.
        if let Some(found) = self.processes.get_mut(&process) {
            found.asks = found.asks.saturating_sub(1);
            self.answer_app(process, number, outcome);
        }
    }

    fn answer_app(&mut self, process: ProcessId, number: u64, outcome: Result<String, String>) {
        let unread = self.processes.get(&process);
        let unread = unread.map_or(0, |found| found.outbox.unread());
        let outcome = match outcome {
            Ok(_) if unread > MOST_UNREAD => Err("it does not read its answers".to_owned()),
            outcome => outcome,
        };
        let text = match outcome {
            Ok(text) => text,
            Err(reason) => {
                let reason = head(&reason).to_owned();
                return self.send_answer(process, number, Err(reason), true);
            }
        };
        let mut rest = text.as_str();
        loop {
            let part;
            (part, rest) = rest.split_at(head(rest).len());
            self.send_answer(process, number, Ok(part.to_owned()), rest.is_empty());
            if rest.is_empty() {
                return;
            }
        }
    }

    fn send_answer(
        &mut self,
        process: ProcessId,
        number: u64,
        part: Result<String, String>,
        is_last: bool,
    ) {
        let answer = ToRole::Answered {
            number,
            part,
            is_last,
        };
        self.send_process(process, &answer);
    }
}

/// As much of a text as one message carries.
fn head(text: &str) -> &str {
    let mut end = text.len().min(ANSWER_PART);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The last of the answers, as an app gets it.
async fn last_answer(mut waiting: mpsc::Receiver<Response>) -> Result<String, String> {
    while let Some(answer) = waiting.recv().await {
        match answer {
            Response::Progress(_)
            | Response::Sessions(_)
            | Response::Upstream(_)
            | Response::Recorded(_)
            | Response::Status(_) => {}
            Response::Done(text) | Response::Unconfirmed(text) => return Ok(text),
            Response::Refused(reason) => return Err(reason),
        }
    }
    Err("the engine has ended".to_owned())
}
