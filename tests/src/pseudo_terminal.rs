//! A terminal that a program runs in, and that the test reads.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use nix::sys::signal::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::{eventually, kill};

/// A program in a terminal of its own.
pub struct PseudoTerminal {
    master: File,
    /// Kept open, so that its settings can be read after the program.
    slave: File,
    child: Child,
    seen: Arc<Mutex<Written>>,
    reader: Option<JoinHandle<()>>,
}

struct Written {
    parser: vt100::Parser,
    raw: Vec<u8>,
}

impl PseudoTerminal {
    /// Runs a command in a terminal of this many rows and columns.
    pub fn start(command: &Command, (rows, columns): (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&master).expect("its rights");
        unlockpt(&master).expect("its other side");
        let path = ptsname(&master, Vec::new()).expect("its name");
        let path = path.into_string().expect("a plain name");
        let slave = OpenOptions::new().read(true).write(true).open(path);
        let slave = slave.expect("its other side");
        let master = File::from(master);
        resize(&master, rows, columns);
        let stream = || slave.try_clone().expect("a descriptor");
        // It makes the terminal the program's own, so that keys and sizes are signalled to it.
        let mut run = Command::new("setsid");
        run.arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => run.env(name, value),
                None => run.env_remove(name),
            };
        }
        run.stdin(stream()).stdout(stream()).stderr(stream());
        let child = run.spawn().expect("setsid is part of every Debian");
        let seen = Arc::new(Mutex::new(Written {
            parser: vt100::Parser::new(cells(rows), cells(columns), 0),
            raw: Vec::new(),
        }));
        let (mut reading, shared) = (master.try_clone().expect("a descriptor"), seen.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reading.read(&mut buffer) {
                let mut seen = shared.lock().expect("nobody has failed");
                seen.parser.process(&buffer[..count]);
                seen.raw.extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            master,
            slave,
            child,
            seen,
            reader: Some(reader),
        }
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it is taken");
    }

    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.seen()
            .parser
            .screen_mut()
            .set_size(cells(rows), cells(columns));
        resize(&self.master, rows, columns);
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.seen().parser.screen().contents()
    }

    /// All bytes that the program has written.
    pub fn raw(&self) -> Vec<u8> {
        self.seen().raw.clone()
    }

    /// Waits until the screen shows this text.
    #[track_caller]
    pub fn shows(&self, part: &str) {
        let what = format!("{part:?} is on the screen");
        eventually(&what, || self.text().contains(part));
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(pid, signal);
    }

    /// Waits until the program has ended, and looks whether it has left the terminal as it was.
    #[track_caller]
    pub fn ended(mut self) -> ExitStatus {
        let mut status = None;
        eventually("the program has ended", || {
            status = self.child.try_wait().expect("it is ours");
            status.is_some()
        });
        let settings = tcgetattr(&self.slave).expect("the terminal is open");
        let usual = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        assert!(settings.local_modes.contains(usual), "{settings:?}");
        eventually("the first screen is back, with its cursor", || {
            let seen = self.seen();
            let screen = seen.parser.screen();
            !screen.alternate_screen() && !screen.hide_cursor()
        });
        status.expect("it has ended")
    }

    fn seen(&self) -> MutexGuard<'_, Written> {
        self.seen.lock().expect("nobody has failed")
    }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has a size")
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a terminal has a size");
}

impl Drop for PseudoTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The reader ends with the last descriptor of the other side, which this value has: it is left to the test's end.
        drop(self.reader.take());
    }
}
