//! One value of the app, with the rings and the tasks of a worker process, in the test's own process.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;

use moorline_ipc::{
    Channel, Consumer, Doorbell, Packet, Producer, Region, Scoreboard, Side, create_region,
    create_scoreboard,
};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

use super::gateway::Gateway;
use crate::app::{App, Context, Error, Result};
use crate::config::Config;
use crate::control::{PROCESS_ROW, Role};
use crate::control_channel::ControlChannel;
use crate::core::{Core, Rings};
use crate::hook::Failure;
use crate::outbox::Link;
use crate::stalls::Waits;
use crate::{serve_app, spawn_ring_task, start_with, stop};

/// Room for a few messages; larger ones travel in parts.
const RING_BYTES: usize = 1024 * 1024;

type Stop = Box<dyn FnOnce(Instant) -> Pin<Box<dyn Future<Output = ()>>>>;

pub(super) struct Process {
    pub(super) core: Rc<Core>,
    tasks: LocalSet,
    rings: RefCell<(Producer, Consumer)>,
    /// The gateway's end of the way of descriptors.
    files: ControlChannel,
    serve: RefCell<Option<Box<dyn FnOnce()>>>,
    stop: RefCell<Option<Stop>>,
}

impl Process {
    /// Makes the app. It does not serve yet.
    pub(super) async fn start<A: App>(
        config: Config,
        generation: u32,
        start: impl AsyncFnOnce(Context, A::Settings) -> Result<A>,
        settings: A::Settings,
    ) -> Result<Self> {
        let start_timeout = config.workers.start_timeout;
        let scoreboard = Scoreboard::map(create_scoreboard(PROCESS_ROW)?, PROCESS_ROW)?;
        let (role, waits) = (Role::Worker(0), Waits::unwatched());
        let core = Core::new(generation, role, generation, config, scoreboard, waits);
        let (files, theirs) = Channel::pair()?;
        core.files.connect(ControlChannel::new(theirs)?);
        let bell = Doorbell::new()?;
        let (ours, theirs) = rings(&bell)?;
        let tasks = LocalSet::new();
        let starting = async {
            let (begin_hooks, _) = spawn_ring_task::<A>(&core, bell.chime()?, theirs)?;
            let app = match timeout(start_timeout, start_with(&core, start, settings)).await {
                Ok(started) => started.map_err(|failure: Failure| failure.to_string())?,
                Err(_) => return Err(Error::from("`start` took longer than `start_timeout`")),
            };
            let app = Rc::new(app);
            begin_hooks(app.clone());
            Ok(app)
        };
        let app = tasks.run_until(starting).await?;
        let (serving, stopping) = ((core.clone(), app.clone()), core.clone());
        Ok(Self {
            core,
            tasks,
            rings: RefCell::new(ours),
            files: ControlChannel::new(files)?,
            serve: RefCell::new(Some(Box::new(move || {
                let (core, app) = serving;
                spawn_local(serve_app(core, app));
            }))),
            stop: RefCell::new(Some(Box::new(move |deadline| {
                Box::pin(async move { stop(&stopping, app, deadline).await })
            }))),
        })
    }

    /// It serves from now on, and leads.
    pub(super) async fn commit(&self) {
        self.core.commit();
        self.core.commitment.lead(true);
        let serve = self.serve.take();
        let serving = async { serve.into_iter().for_each(|serve| serve()) };
        self.tasks.run_until(serving).await;
    }

    /// Runs its stop hook and ends.
    pub(super) async fn stop(&self, deadline: Instant, gateway: &RefCell<Gateway>) {
        if let Some(stop) = self.stop.take() {
            self.drive(gateway, stop(deadline)).await;
        }
    }

    /// Runs the app's tasks, and carries records to and fro, until `work` ends.
    pub(super) async fn drive<T>(
        &self,
        gateway: &RefCell<Gateway>,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        self.tasks
            .run_until(async {
                loop {
                    let mut progress = pin!(self.core.counters.progress());
                    progress.as_mut().enable();
                    self.exchange(gateway);
                    tokio::select! {
                        done = &mut work => {
                            self.exchange(gateway);
                            return done;
                        }
                        () = progress => {}
                        packet = self.files.recv_packet() => self.take_file(gateway, packet),
                    }
                }
            })
            .await
    }

    /// The same, until this is true for the gateway.
    pub(super) async fn drive_until<T>(
        &self,
        gateway: &RefCell<Gateway>,
        mut is_so: impl FnMut(&mut Gateway) -> Option<T>,
    ) -> T {
        self.tasks
            .run_until(async {
                loop {
                    let mut progress = pin!(self.core.counters.progress());
                    progress.as_mut().enable();
                    self.exchange(gateway);
                    let found = is_so(&mut gateway.borrow_mut());
                    // It may have given the process something.
                    self.exchange(gateway);
                    if let Some(found) = found {
                        return found;
                    }
                    tokio::select! {
                        () = progress => {}
                        packet = self.files.recv_packet() => self.take_file(gateway, packet),
                    }
                }
            })
            .await
    }

    /// Takes all that it has sent, and gives it all that waits for it.
    pub(super) fn exchange(&self, gateway: &RefCell<Gateway>) {
        let (producer, consumer) = &mut *self.rings.borrow_mut();
        let mut gateway = gateway.borrow_mut();
        let mut has_taken = false;
        while let Ok(Some(record)) = consumer.next() {
            let (header, mut payload) = (*record.header(), Vec::new());
            record.copy_to(&mut payload);
            gateway.take(self.core.generation, &header, payload);
            has_taken = true;
        }
        let gives_room = has_taken && consumer.end_turn();
        let has_given = gateway.flush(self.core.generation, producer);
        if gives_room || has_given {
            let _ = producer.publish();
            // In place of the doorbell: a descriptor would let a paused clock run on.
            self.core.outbox.schedule();
        }
    }

    fn take_file(&self, gateway: &RefCell<Gateway>, packet: io::Result<Option<Packet>>) {
        if let Ok(Some(Packet {
            bytes,
            fds: Ok(fds),
        })) = packet
        {
            gateway
                .borrow_mut()
                .take_file(self.core.generation, &bytes, fds);
        }
    }
}

/// The ends of a pair of rings: the gateway's and the process's.
fn rings(bell: &Doorbell) -> io::Result<((Producer, Consumer), Rings)> {
    let region = create_region(RING_BYTES)?;
    let theirs = Region::map(region.try_clone()?, Side::Process)?;
    let ours = Region::map(region, Side::Gateway)?;
    let rings = Rings {
        links: vec![Link::new(theirs.producer, bell.try_clone()?, theirs.marks)],
        inlets: vec![theirs.consumer],
    };
    Ok(((ours.producer, ours.consumer), rings))
}
