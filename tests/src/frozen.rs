//! Threads and processes that a debugger holds.

use std::fs;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Something that does not run until this is dropped, which must be on the thread that has made it.
#[derive(Debug)]
pub struct Frozen(Vec<Pid>);

impl Frozen {
    /// The thread of this name, the others go on. Needs root: the engine's processes hide from everybody else.
    #[track_caller]
    pub fn thread(pid: i32, name: &str) -> Frozen {
        let named = |task: &i32| {
            let comm = fs::read_to_string(format!("/proc/{pid}/task/{task}/comm"));
            comm.is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks(pid).into_iter().find(named);
        Frozen::all(vec![task.expect("there is a thread of this name")])
    }

    /// The first thread of a process, the others go on.
    pub fn main_thread(pid: i32) -> Frozen {
        Frozen::all(vec![pid])
    }

    /// Has the thread go on with a function that never returns, instead of with what it did.
    #[cfg(target_arch = "x86_64")]
    pub fn go_on_with(self, function: u64) {
        for task in &self.0 {
            let mut registers = ptrace::getregs(*task).expect("it is held");
            // Below what leaf functions may use beyond their stack, and as after a call, whose caller is unknown.
            registers.rsp = ((registers.rsp - 1024) & !15) - 8;
            registers.rip = function;
            // The system call that it waits in is not begun again.
            registers.orig_rax = u64::MAX;
            ptrace::write(*task, registers.rsp as ptrace::AddressType, 0).expect("a stack");
            ptrace::setregs(*task, registers).expect("it is held");
        }
    }

    /// Every thread of a process.
    pub fn process(pid: i32) -> Frozen {
        Frozen::all(tasks(pid))
    }

    fn all(tasks: Vec<i32>) -> Frozen {
        let tasks: Vec<_> = tasks.into_iter().map(Pid::from_raw).collect();
        for task in &tasks {
            ptrace::seize(*task, ptrace::Options::empty()).expect("the test runs as root");
            ptrace::interrupt(*task).expect("it is seized");
            waitpid(*task, Some(WaitPidFlag::__WALL)).expect("it is seized");
        }
        Frozen(tasks)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for task in &self.0 {
            if ptrace::detach(*task, None::<Signal>).is_err() {
                // It was killed meanwhile, and nobody sees that before this.
                let _ = waitpid(*task, Some(WaitPidFlag::__WALL));
            }
        }
    }
}

fn tasks(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}
