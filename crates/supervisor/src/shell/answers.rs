//! Requests over the control socket, and their answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::control_socket::Answers;
use moorline_process::{log, machine};
use moorline_protocol::command::{Request, Response, SessionFilter, THERE_ARE_MORE};
use moorline_protocol::control::{
    ListPlace, ProcessCounter, ProcessId, Role, SessionRow, StallReport, ToRole, UpstreamPlace,
    UpstreamSeen,
};

use super::super::input::{Input, SessionList};
use super::super::plan::{Event, State};
use super::super::stalls::{self, Stall};
use super::super::status::{Counts, claimed};
use super::children::{GatewayHandle, HelperHandle};
use super::{Shell, milliseconds};

/// How long the gateway may take to answer, or to list some sessions. Under the time that the asker waits.
const LIST_TIME: Duration = Duration::from_secs(5);

/// A caller that waits for an answer of the gateway, or for the next part of a list.
pub(super) struct Listing {
    pub(super) answers: Answers,
    asked_at: Instant,
    /// Of a list of sessions.
    wanted: Wanted,
}

/// Which sessions are listed, and how many may follow.
type Wanted = (Option<SessionFilter>, u64);

impl Shell {
    pub(super) fn asked(&mut self, request: Request, answers: Answers) {
        match request {
            Request::Reload {
                config: Some(named),
                ..
            } if named != self.source.path => {
                answers.give(Response::Refused(format!(
                    "the engine does not run with {} but with {}: change that file, or restart the engine with the other",
                    named.display(),
                    self.source.path.display()
                )));
            }
            Request::Reload { scope, .. } => {
                let caller = self.new_caller(answers);
                self.tell(Event::ReloadAsked {
                    caller: Some(caller),
                    scope,
                });
            }
            Request::Upgrade { close_rest_ms } => {
                let caller = self.new_caller(answers);
                let close_rest = close_rest_ms.map(Duration::from_millis);
                self.tell(Event::UpgradeAsked { caller, close_rest });
            }
            Request::Stop => {
                answers.give(Response::Progress("stopping".to_owned()));
                self.notifier.stopping();
                self.tell(Event::StopAsked);
            }
            Request::Drain { over_ms, listener } => {
                self.drain(over_ms.map(Duration::from_millis), listener, answers);
            }
            Request::Recordings => self.tell_recordings(None, answers),
            Request::Recording { file } => self.tell_recordings(Some(file), answers),
            Request::Events => self.tell_events(answers),
            Request::Status => answers.give(Response::Status(self.status())),
            Request::Sessions => self.list_sessions(SessionList::new(None, u64::MAX), answers),
            Request::FindSessions { filter, most } => {
                self.list_sessions(SessionList::new(Some(filter), most), answers);
            }
            Request::CloseSession { id } => {
                self.ask_gateway(answers, |question| ToRole::CloseSession { question, id });
            }
            Request::Accept { listener, accepts } => self.accept(listener, accepts, &answers),
            Request::Upstreams => self.list_upstreams(UpstreamPlace::default(), answers),
            Request::SetPeer {
                upstream,
                peer,
                change,
            } => self.ask_gateway(answers, |question| ToRole::SetPeer {
                question,
                upstream,
                peer,
                change,
            }),
        }
    }

    pub(super) fn list_sessions(&mut self, list: SessionList, answers: Answers) {
        let from = list.from;
        let list = (list.filter, list.left);
        self.ask_gateway_for(answers, Some(list), |question| ToRole::ListSessions {
            question,
            from,
        });
    }

    pub(super) fn list_upstreams(&mut self, from: UpstreamPlace, answers: Answers) {
        self.ask_gateway(answers, |question| ToRole::ListUpstreams { question, from });
    }

    /// Asks the gateway for the caller.
    fn ask_gateway(&mut self, answers: Answers, message: impl FnOnce(u64) -> ToRole) {
        self.ask_gateway_for(answers, None, message);
    }

    fn ask_gateway_for(
        &mut self,
        answers: Answers,
        wanted: Option<Wanted>,
        message: impl FnOnce(u64) -> ToRole,
    ) {
        let gateway = self.gateway.as_ref();
        let outbox = gateway.and_then(GatewayHandle::outbox_behind_start);
        self.last_question += 1;
        let question = self.last_question;
        let sent = outbox.map(|outbox| outbox.send(&message(question), Vec::new()));
        match sent {
            Some(Ok(())) => {
                let asked_at = Instant::now();
                let listing = Listing {
                    answers,
                    asked_at,
                    wanted: wanted.unwrap_or((None, u64::MAX)),
                };
                self.listing.insert(question, listing);
            }
            Some(Err(error)) => answers.give(Response::Refused(format!(
                "the gateway cannot be asked: {error}"
            ))),
            None => answers.give(Response::Refused(
                "there is no gateway at the moment".to_owned(),
            )),
        }
    }

    pub(super) fn sessions(
        &mut self,
        question: u64,
        rows: Vec<SessionRow>,
        next: Option<ListPlace>,
    ) {
        let Some(Listing {
            answers, wanted, ..
        }) = self.listing.remove(&question)
        else {
            return;
        };
        let (filter, left) = wanted;
        let rows: Vec<_> = match &filter {
            Some(filter) => rows.into_iter().filter(|row| filter.fits(row)).collect(),
            None => rows,
        };
        let left = left.saturating_sub(rows.len() as u64);
        let inputs = self.inputs.clone();
        // The list continues when the caller has taken this part: a slow reader gets all of it, and nothing piles up.
        spawn_local(async move {
            let is_wanted = match rows.is_empty() {
                true => answers.are_wanted(),
                false => answers.give_in_turn(Response::Sessions(rows)).await,
            };
            match next {
                Some(from) if is_wanted && left > 0 => {
                    let list = SessionList { from, filter, left };
                    // The shell may have ended.
                    let _ = inputs.send(Input::ListSessions(list, answers)).await;
                }
                Some(_) => {
                    let more = THERE_ARE_MORE.to_owned();
                    answers.give_in_turn(Response::Done(more)).await;
                }
                None => {
                    answers.give_in_turn(Response::Done(String::new())).await;
                }
            }
        });
    }

    pub(super) fn upstreams(
        &mut self,
        question: u64,
        seen: Option<UpstreamSeen>,
        next: Option<UpstreamPlace>,
    ) {
        let Some(Listing { answers, .. }) = self.listing.remove(&question) else {
            return;
        };
        let inputs = self.inputs.clone();
        // As with sessions.
        spawn_local(async move {
            let is_wanted = match seen {
                Some(seen) => answers.give_in_turn(Response::Upstream(seen)).await,
                None => true,
            };
            match next {
                Some(next) if is_wanted => {
                    let _ = inputs.send(Input::ListUpstreams(next, answers)).await;
                }
                Some(_) => {}
                None => {
                    answers.give_in_turn(Response::Done(String::new())).await;
                }
            }
        });
    }

    pub(super) fn session_closed(&mut self, question: u64, is_there: bool) {
        if let Some(Listing { answers, .. }) = self.listing.remove(&question) {
            answers.give(match is_there {
                true => Response::Done("it closes when no message of it is in progress".to_owned()),
                false => Response::Refused("there is no session with this id".to_owned()),
            });
        }
    }

    pub(super) fn peer_set(&mut self, question: u64, result: Result<usize, String>) {
        if let Some(Listing { answers, .. }) = self.listing.remove(&question) {
            answers.give(match result {
                Ok(1) => Response::Done("changed 1 peer".to_owned()),
                Ok(peers) => Response::Done(format!("changed {peers} peers")),
                Err(reason) => Response::Refused(reason),
            });
        }
    }

    /// Answers callers that have waited too long for a gateway that does not answer.
    pub(super) fn give_up_waiting(&mut self) {
        let late = self
            .listing
            .extract_if(|_, listing| listing.asked_at.elapsed() > LIST_TIME);
        let late: Vec<_> = late.collect();
        for (_, listing) in late {
            let reason = format!("the gateway does not answer: {}", self.plan.what_hangs());
            listing.answers.give(Response::Refused(reason));
        }
    }

    pub(super) fn stalled(&mut self, process: ProcessId, report: StallReport) {
        self.record_stall(process, &report);
        if let Some(found) = self.processes.get(&process) {
            stalls::keep(&mut self.stalls, found.role, found.pid, report);
            let kept = self.stalls.back();
            if let Some((kind, place)) = kept.and_then(Stall::of_start) {
                self.plan.process_is_late(process, kind.verb(), place);
            }
        }
    }

    /// All counts now.
    pub(super) fn counts(&self) -> Counts<'_> {
        Counts {
            tally: &self.tally,
            gateway: self
                .gateway
                .as_ref()
                .map(|gateway| (&gateway.board, gateway.loops)),
            processes: self
                .processes
                .values()
                .map(|process| &process.board)
                .collect(),
        }
    }

    pub(super) fn status(&self) -> Value {
        let counts = self.counts();
        let now = self.started.elapsed();
        let last_reload = self.tally.last_reload.as_ref();
        let [generation, _] = self.plan.generations();
        let certificates = self.deployments.get(&generation);
        let certificates = certificates.map(|deployment| &deployment.certificates);
        let started_at = unix_seconds(self.started_at);
        json!({
            "supervisor": {
                "pid": std::process::id(),
                "started_at": started_at,
                "uptime_s": now.as_secs(),
                "now": unix_seconds(SystemTime::now()),
                "stopping": self.plan.is_stopping(),
                "memory_bytes": self.memory.bytes(std::process::id()),
            },
            "gateway": self.gateway_status(&counts),
            "workers": self.rows(|role| matches!(role, Role::Worker(_))),
            "tasks": self.rows(|role| matches!(role, Role::Task(_))),
            "helpers": self.helpers_status(),
            "reloads": {
                "done": self.tally.reloads_done,
                "failed": self.tally.reloads_failed,
                "running": self.plan.is_reloading(),
                "last": last_reload.map(|last| last.status(now)),
            },
            "upgrades": {
                "done": self.tally.upgrades_done,
                "failed": self.tally.upgrades_failed,
                "last_pause_ms": self.tally.last_pause.map(|pause| pause.as_micros() as f64 / 1000.0),
            },
            "closing": self.closing_status(),
            "listeners": self.listeners(&counts),
            "stalls": self.stalls,
            "handled": counts.handled(),
            "waited": counts.waited(self.lately.wait_bound()),
            "lately": self.lately.status(now),
            "refused": self.lately.refused_status(now),
            "certificates": certificates,
            "disks": self.disks.status(),
            "machine": { "memory_available": machine::memory_available() },
            "lost": counts.lost(),
            "discarded": counts.discarded(),
            "errors": counts.errors(),
            "log_lines_dropped": log::dropped() + counts.log_lines_dropped(),
        })
    }

    fn gateway_status(&self, counts: &Counts<'_>) -> Map<String, Value> {
        let gateway = self.gateway.as_ref();
        let still = self.plan.still_loops();
        let still = still.map(|(index, time)| json!({ "loop": index, "ms": milliseconds(time) }));
        let [workers, _] = self.plan.generations();
        let present = self.deployments.get(&workers);
        let limit = present.and_then(|present| present.config.engine.memory_limit);
        let mut status = counts.gateway();
        for (key, value) in [
            ("pid", json!(gateway.map(|gateway| gateway.pid))),
            (
                "incarnation",
                json!(gateway.map(|gateway| gateway.incarnation)),
            ),
            ("loops", json!(gateway.map(|gateway| gateway.loops))),
            ("still", still.collect()),
            (
                "main_still_ms",
                self.plan.still_main().map(milliseconds).into(),
            ),
            ("memory_limit", limit.into()),
            ("full", self.lately.full().into()),
            ("descriptors", counts.descriptors()),
            (
                "memory_bytes",
                gateway.and_then(|it| self.memory.bytes(it.pid)).into(),
            ),
            (
                "memory_growth",
                gateway.map(|it| self.memory.growth(it.pid)).into(),
            ),
        ] {
            status.insert(key.to_owned(), value);
        }
        status
    }

    fn helpers_status(&self) -> Vec<Value> {
        let status = |helper: &HelperHandle| {
            let restarts = self.plan.restarts(&helper.name);
            json!({ "name": helper.name, "pid": helper.pid, "restarts": restarts })
        };
        self.helpers.values().map(status).collect()
    }

    /// By slot, the newest generation first, and last the processes that wait for a restart.
    fn rows(&self, which: impl Fn(Role) -> bool) -> Vec<Value> {
        let mut found: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, process)| which(process.role))
            .collect();
        found.sort_by_key(|(id, _)| ProcessId::MAX - **id);
        let living = found.into_iter().map(|(id, process)| {
            let silent = self.plan.silent(*id);
            let state = match self.plan.state(*id) {
                Some(State::Ready) if silent.is_some() => "not answering",
                Some(State::Starting) => "starting",
                Some(State::Ready) => "ready",
                Some(State::Draining) | None => "draining",
            };
            json!({
                "slot": slot(process.role),
                "pid": process.pid,
                "state": state,
                "generation": process.generation,
                "handled": claimed(&process.board, ProcessCounter::Handled as usize),
                "leader": self.plan.leader() == Some(*id),
                "in_progress": claimed(&process.board, ProcessCounter::InProgress as usize),
                "sessions": claimed(&process.board, ProcessCounter::Sessions as usize),
                "memory_bytes": self.memory.bytes(process.pid),
                "memory_growth": self.memory.growth(process.pid),
                "silent_ms": silent.map(milliseconds),
                "waiting": process.waiting,
            })
        });
        let waiting = self.plan.waiting(self.started.elapsed());
        let waiting = waiting
            .filter(|(role, ..)| which(*role))
            .map(|(role, wait, reason)| {
                json!({
                    "slot": slot(role),
                    "pid": null,
                    "state": "waiting",
                    "retry_in_ms": milliseconds(wait),
                    "reason": reason,
                })
            });
        let mut rows: Vec<_> = living.chain(waiting).collect();
        rows.sort_by_key(|row| row["slot"].as_u64());
        rows
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn slot(role: Role) -> u16 {
    match role {
        Role::Worker(slot) | Role::Task(slot) => slot,
        Role::Gateway => 0,
    }
}
