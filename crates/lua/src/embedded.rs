//! Services on a thread of the program that embeds them.

use std::fmt;
use std::io;
use std::sync::Arc;

use moorline_actor::{Actor, LaunchError, LaunchOptions, Port, ServiceId, System, SystemOptions};

use crate::foreign::{ForeignModule, ForeignSockets};
use crate::foreign_stream::ForeignPorts;
use crate::host::{launch_own, reporter};
use crate::options::RunOptions;
use crate::process::Process;
use crate::service::LuaService;
use crate::state::Program;

/// What an embedding program says about the services that it runs.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The first script, and where others are found. There is one loop, whatever it says.
    pub run: RunOptions,
    /// What `skynet.getenv` gives beside: names and values.
    pub variables: Vec<(String, String)>,
    /// Modules of the program's own.
    pub modules: Vec<ForeignModule>,
    /// Its connections that scripts use as sockets.
    pub sockets: Option<ForeignSockets>,
}

/// The Lua services on one thread. Dropping it stops them.
pub struct Embedded {
    system: System,
    process: Arc<Process>,
    first: String,
}

impl Embedded {
    /// Starts the loop of this thread: the future is the loop, and ends when a service calls `skynet.abort`. It needs the timers of a
    /// tokio runtime on this thread.
    ///
    /// # Errors
    /// The system gives no thread for the watchdog.
    pub fn start(
        options: EmbeddedOptions,
    ) -> io::Result<(Self, impl Future<Output = ()> + 'static)> {
        let mut process = Process::new(&options.run);
        process.embed(options.modules, options.sockets);
        for (name, value) in &options.variables {
            // What the run says itself comes first.
            let _ = process.set_variable(name, value);
        }
        let process = Arc::new(process);
        let (system, this_loop) = System::on_this_thread(SystemOptions {
            report: reporter(&process),
            ..SystemOptions::default()
        })?;
        launch_own(&system, &process)?;
        let first = options.run.first;
        let this = Self {
            system,
            process,
            first,
        };
        Ok((this, this_loop))
    }

    /// Launches a service of the program's own, which lives as long as the loop.
    ///
    /// # Errors
    /// There is no free slot.
    pub fn launch<F>(&self, make: F) -> Result<ServiceId, LaunchError>
    where
        F: FnOnce(Port) -> Result<Box<dyn Actor>, String> + Send + 'static,
    {
        let options = LaunchOptions {
            is_daemon: true,
            ..LaunchOptions::default()
        };
        self.system.launch_actor(options, make)
    }

    /// Where the program gives its connections to sockets that listen for them.
    pub fn ports(&self) -> ForeignPorts {
        ForeignPorts::new(self.process.clone())
    }

    /// What makes the service of the first script, for [`Port::launch`].
    pub fn first(&self) -> impl FnOnce(Port) -> Result<Box<dyn Actor>, String> + Send + 'static {
        let process = self.process.clone();
        let program = Program::Script {
            line: self.first.clone(),
            is_first: false,
        };
        move |port| LuaService::start(port, process, &program)
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}
