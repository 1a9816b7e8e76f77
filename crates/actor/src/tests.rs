//! Promises of a system as a whole.

mod calls;
mod ends;
mod floods;
mod random;

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::{Context, LaunchOptions, Report, Service, System, SystemOptions};

/// A service that only runs what it spawns.
struct Script;

impl Service for Script {
    type Request = ();
    type Reply = ();

    async fn handle(self: std::rc::Rc<Self>, _: Context, (): ()) {}
}

/// The longest that a test waits for its script.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a script as a service, and returns what it returns.
fn run<R, F>(options: SystemOptions, script: F) -> R
where
    R: Send + 'static,
    F: AsyncFnOnce(Context) -> R + Send + 'static,
{
    let system = System::start(options).expect("threads start");
    let (tell, told) = mpsc::channel();
    let launched = system.launch(LaunchOptions::default(), move |context| {
        let running = context.clone();
        context.spawn(async move {
            let _ = tell.send(script(running).await);
        });
        Ok(Script)
    });
    launched.expect("there is a slot");
    told.recv_timeout(PATIENCE).expect("the script ends")
}

fn loops(loops: u8) -> SystemOptions {
    SystemOptions {
        loops,
        ..SystemOptions::default()
    }
}

fn on(index: usize) -> LaunchOptions {
    LaunchOptions {
        on: Some(index),
        ..LaunchOptions::default()
    }
}

/// Where reports are kept.
type Reports = Arc<Mutex<Vec<Report>>>;

/// Options that keep reports.
fn reporting(options: SystemOptions) -> (SystemOptions, Reports) {
    let reports = Reports::default();
    let kept = reports.clone();
    let report = Box::new(move |report: &Report| {
        kept.lock()
            .expect("no test panics there")
            .push(report.clone());
    });
    (SystemOptions { report, ..options }, reports)
}
