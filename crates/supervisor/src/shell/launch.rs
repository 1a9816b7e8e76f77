//! Starting children, and joining processes with the gateway.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use moorline_ipc::{Channel, Doorbell, Scoreboard, create_region, create_scoreboard};
use tracing::info;

use moorline_config::HelperTask;
use moorline_process::log::Destination;
use moorline_process::open_files;
use moorline_protocol::control::{PROCESS_BOARD, ProcessId, Role, ToRole, gateway_board};
use moorline_protocol::start::HelperStart;

use super::super::admin_stream;
use super::super::child::{attend_helper, attend_role};
use super::super::deployment::Deployment;
use super::super::plan::{Child, role_name};
use super::super::spawn;
use super::Shell;
use super::children::{GatewayHandle, HelperHandle, ProcessHandle};

impl Shell {
    pub(super) fn spawn_gateway(&mut self, incarnation: u32, generation: u32) {
        let result = self.try_spawn_gateway(incarnation, generation);
        self.unless_spawned(Child::Gateway(incarnation), result);
    }

    pub(super) fn spawn_process(&mut self, process: ProcessId, role: Role, generation: u32) {
        let result = self.try_spawn_process(process, role, generation);
        self.unless_spawned(Child::Process(process), result);
    }

    pub(super) fn spawn_helper(
        &mut self,
        run: u32,
        generation: u32,
        helper: &moorline_config::Helper,
    ) {
        let result = self.try_spawn_helper(run, generation, helper);
        self.unless_spawned(Child::Helper(run), result);
    }

    pub(super) fn start_process(&mut self, process: ProcessId) {
        let result = self.try_start_process(process);
        self.unless_sent(Child::Process(process), result);
    }

    pub(super) fn new_gateway(&mut self, process: ProcessId) {
        let result = self.try_new_gateway(process);
        self.unless_sent(Child::Process(process), result);
    }

    fn try_spawn_gateway(&mut self, incarnation: u32, generation: u32) -> io::Result<()> {
        let deployment = self.deployment(generation)?;
        let counters = gateway_board(usize::from(deployment.config.engine.gateway_loops));
        let executable = match &self.others.executable {
            Some(executable) => executable.as_fd(),
            None => deployment.executable.as_fd(),
        };
        let executable = executable.try_clone_to_owned()?;
        let board_fd = create_scoreboard(counters)?;
        let board = Scoreboard::map(board_fd.try_clone()?, counters)?;
        let handle = self.start_gateway_process(
            (incarnation, generation),
            executable.as_fd(),
            (board, board_fd),
        )?;
        self.gateway = Some(handle);
        self.note_started(Child::Gateway(incarnation));
        Ok(())
    }

    /// Starts a gateway with this generation's configuration, which counts on this board.
    pub(super) fn start_gateway_process(
        &mut self,
        (incarnation, generation): (u32, u32),
        executable: BorrowedFd<'_>,
        (board, board_fd): (Scoreboard, OwnedFd),
    ) -> io::Result<GatewayHandle> {
        let deployment = self.deployment(generation)?;
        let loops = deployment.config.engine.gateway_loops;
        let title = format!("moorline: gateway ({})", deployment.config.name);
        // It has its own standard streams, too: its use of them must not affect others.
        let (errors, writer) = self.outputs.pipe(Destination::Errors)?;
        // Only its access logs go there.
        let (output, output_writer) = self.outputs.pipe(Destination::Output)?;
        let (process, channel) = spawn::role(executable, &title, [output, errors])?;
        let pid = pid(&process)?;
        let outbox = Some(attend_role(
            Child::Gateway(incarnation),
            process,
            channel,
            &self.inputs,
        )?);
        info!(pid, incarnation, "the gateway (pid {pid}) started");
        Ok(GatewayHandle {
            incarnation,
            pid,
            loops,
            board,
            board_fd,
            sockets: BTreeMap::new(),
            prepared: None,
            outbox,
            has_start: false,
            _writers: [writer, output_writer],
        })
    }

    fn try_spawn_process(
        &mut self,
        process: ProcessId,
        role: Role,
        generation: u32,
    ) -> io::Result<()> {
        let deployment = self.deployment(generation)?;
        let board_fd = create_scoreboard(PROCESS_BOARD)?;
        let board = Scoreboard::map(board_fd.try_clone()?, PROCESS_BOARD)?;
        let doorbell = Doorbell::new()?;
        let worker = role_name(role);
        let title = match role {
            // Short, and different from a worker's title in a list of processes.
            Role::Task(slot) => format!("moorline: task {slot} ({})", deployment.config.name),
            _ => format!("moorline: {worker} ({})", deployment.config.name),
        };
        // Where app code runs nothing is shared with others.
        let (output, writer) = self.outputs.pipe(Destination::Errors)?;
        let executable = deployment.executable.as_fd();
        let outputs = [output.try_clone()?, output];
        let (child, channel) = spawn::role(executable, &title, outputs)?;
        let pid = pid(&child)?;
        let outbox = attend_role(Child::Process(process), child, channel, &self.inputs)?;
        info!(worker, pid, generation, "{worker} (pid {pid}) started");
        self.processes.insert(
            process,
            ProcessHandle {
                role,
                generation,
                pid,
                board,
                board_fd,
                doorbell,
                outbox,
                asks: 0,
                status_due: None,
                waiting: None,
                writers: vec![writer],
            },
        );
        self.note_started(Child::Process(process));
        Ok(())
    }

    fn try_spawn_helper(
        &mut self,
        run: u32,
        generation: u32,
        helper: &moorline_config::Helper,
    ) -> io::Result<()> {
        let deployment = self.deployment(generation)?;
        let engine = &deployment.config.engine;
        let start = HelperStart {
            task: helper.task.clone(),
            user: engine.user.clone(),
            group: engine.group.clone(),
            open_files: open_files::soft_before(),
        };
        let title = format!(
            "moorline: helper {} ({})",
            helper.name, deployment.config.name
        );
        let questions = match &helper.task {
            HelperTask::Command(_) => None,
            HelperTask::Admin(admin) => {
                Some(admin_stream::answer(&self.inputs, admin.token.clone())?)
            }
        };
        let executable = deployment.executable.as_fd();
        let process = spawn::helper(executable, &title, &start, questions)?;
        let pid = pid(&process)?;
        attend_helper(Child::Helper(run), &helper.name, process, &self.inputs);
        let name = &helper.name;
        info!(helper = name, pid, "helper {name} (pid {pid}) started");
        self.helpers.insert(
            run,
            HelperHandle {
                name: helper.name.clone(),
                pid,
            },
        );
        Ok(())
    }

    /// Joins a process with the present gateway, and has it start.
    ///
    /// # Errors
    /// What the supervisor could not make or send for it; failures of the gateway are not among them.
    fn try_start_process(&mut self, id: ProcessId) -> io::Result<()> {
        let Some(process) = self.processes.get(&id) else {
            return Ok(());
        };
        let deployment = self.deployment(process.generation)?;
        let log = match deployment.log {
            Some(_) => Some(self.outputs.pipe(Destination::Log)?),
            None => None,
        };
        let (log, writer) = log.unzip();
        let mut fds = vec![
            process.board_fd.try_clone()?,
            process.doorbell.chime()?.into(),
        ];
        let start = ToRole::StartProcess {
            process: id,
            role: process.role,
            generation: process.generation,
            engine: nanoseconds(self.started_at),
            config: Box::new(deployment.config.clone()),
        };
        fds.append(&mut self.attach(id)?);
        let Some(process) = self.processes.get_mut(&id) else {
            return Ok(());
        };
        process.writers.extend(writer);
        process.outbox.send(&start, fds)?;
        match log {
            Some(file) => process.outbox.send(&ToRole::ReopenLog, vec![file]),
            None => Ok(()),
        }
    }

    /// Joins a process that has started with a new gateway.
    ///
    /// # Errors
    /// As for [`try_start_process`](Self::try_start_process).
    fn try_new_gateway(&mut self, id: ProcessId) -> io::Result<()> {
        let fds = self.attach(id)?;
        match self.processes.get(&id) {
            Some(process) => process.outbox.send(&ToRole::NewGateway, fds),
            None => Ok(()),
        }
    }

    /// Sends the gateway its ends of the connection with this process, and returns the process's ends: for each loop
    /// the doorbell by which the process wakes it, and the region; then its end of the channel for files.
    fn attach(&mut self, id: ProcessId) -> io::Result<Vec<OwnedFd>> {
        let (Some(process), Some(gateway)) = (self.processes.get(&id), &self.gateway) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let Some(outbox) = &gateway.outbox else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let config = &self.deployment(process.generation)?.config;
        let ring_bytes = config.engine.ring_memory / u64::from(gateway.loops.max(1)) / 2;
        let ring_bytes = usize::try_from(ring_bytes).unwrap_or(usize::MAX);
        let (mut theirs, mut gateways) = (Vec::new(), vec![process.doorbell.try_clone()?.into()]);
        // The supervisor keeps none: a region lives exactly as long as the two that use it.
        for _ in 0..gateway.loops {
            let (doorbell, region) = (Doorbell::new()?, create_region(ring_bytes)?);
            theirs.extend([doorbell.try_clone()?.into(), region.try_clone()?]);
            gateways.extend([doorbell.into(), region]);
        }
        // Descriptors of files go from the process to the gateway without the supervisor.
        let (process_end, gateway_end) = Channel::pair()?;
        theirs.push(process_end.into());
        gateways.push(gateway_end.into());
        let attach = ToRole::Attach {
            process: id,
            role: process.role,
            pid: process.pid,
        };
        let sent = outbox.send(&attach, gateways);
        // If the gateway does not read any more, that is not the process's failure.
        self.unless_sent_to_gateway(sent);
        Ok(theirs)
    }

    pub(super) fn deployment(&self, generation: u32) -> io::Result<&Deployment> {
        self.deployments.get(&generation).ok_or_else(|| {
            io::Error::other(format!("generation {generation} is not there any more"))
        })
    }
}

fn pid(process: &tokio::process::Child) -> io::Result<u32> {
    // It has one until it was waited for.
    process
        .id()
        .ok_or_else(|| io::Error::other("it has ended already"))
}

/// Since the Unix epoch.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    // Until the year 2554.
    since.map_or(0, |since| since.as_nanos() as u64)
}
