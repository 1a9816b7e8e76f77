//! What mlua offers as unsafe only: a Lua state with the `debug` library and memory of our own, and a descriptor by its number, as scripts
//! expect them, and a look into a state that does not return.
//!
//! A thread is asked to look by a signal. Its handler runs on the thread itself, wherever that is, and does only what Lua's manual allows
//! there: it sets a hook. Lua calls the hook before its next instruction, where everything is allowed. The hook belongs to one coroutine,
//! so that the thread notes which one runs: [`resume`] and [`wrap`] stand in for those of Lua's library.

#![expect(unsafe_code, reason = "see above")]

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::LazyLock;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence,
};

use mlua::{Table, ffi, lua_State};

mod arguments;
mod compiled;
mod hooks;
mod memory;
mod owned_state;
mod pool;
mod protected;
mod text;
mod unpacked;

pub(crate) use arguments::{Arguments, ReadArguments, Seen, SeenTable, SeenValue};
pub(crate) use compiled::{Compiled, load_static};
pub(crate) use memory::{Charge, StateMemory};
pub(crate) use owned_state::OwnedState;
pub(crate) use text::StackText;
pub(crate) use unpacked::Unpacked;

/// A duplicate of the descriptor with a number.
///
/// # Errors
/// There is none with this number, or there are too many.
pub(crate) fn duplicate(number: i32) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the number is not -1, and the borrow ends with the system call, which refuses a number that is no descriptor. Nothing else
    // in the process is closed or changed by a duplicate.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, 3)?)
}

/// Has a state note which of its coroutines runs.
///
/// # Errors
/// There is no memory.
pub(crate) fn note_coroutines(lua: &OwnedState) -> mlua::Result<()> {
    let library: Table = lua.globals().get("coroutine")?;
    // SAFETY: both keep to the stack that Lua gives them, as is said there.
    let (resume, wrap) = unsafe { (lua.create_c_function(resume)?, lua.create_c_function(wrap)?) };
    library.raw_set("resume", resume)?;
    library.raw_set("wrap", wrap)?;
    protected::install(lua, &library)
}

/// What a thread that runs Lua states does at the moment, for other threads.
#[derive(Debug)]
pub(crate) struct ThreadWatch {
    /// The kernel's number of the thread.
    thread: c_int,
    service: AtomicU32,
    /// Rises with each message.
    message: AtomicU64,
    /// The message in which something is to be done, and what.
    demanded: AtomicU64,
    demand: AtomicU8,
    /// The service's state closes.
    is_closing: AtomicBool,
    /// Gets what was seen.
    tell: fn(u32, &[u8]),
}

/// What is done with a service that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Demand {
    /// Its stack is told.
    Stack,
    /// Its memory is told.
    Memory,
    /// Each of its instructions fails until its message has ended.
    Break,
}

thread_local! {
    // Without a destructor and made with the thread, so that a handler may look at them.
    static WATCH: Cell<Option<&'static ThreadWatch>> = const { Cell::new(None) };
    // Atomic since the handler looks at any moment. Nobody but the thread itself changes it.
    static RUNNING: AtomicPtr<lua_State> = const { AtomicPtr::new(null_mut()) };
}

/// The signal. A worker process that embeds services takes the stacks of its threads by `SIGURG`, and log files are opened again by
/// `SIGRTMIN`: neither must reach this handler, nor this signal theirs. It is sent only by the process itself, once it is handled.
fn signal() -> c_int {
    libc::SIGRTMIN() + 1
}

/// Notes what runs from now on, and tells what has run before.
fn note(running: *mut lua_State) -> *mut lua_State {
    RUNNING.with(|noted| {
        let before = noted.load(Ordering::Relaxed);
        noted.store(running, Ordering::Relaxed);
        // The handler is on this thread: the order of instructions is enough for it.
        compiler_fence(Ordering::SeqCst);
        before
    })
}

/// Watches this thread, if it is not watched yet. A watch is never given back: a thread that runs services lasts as long as the process,
/// nearly.
pub(crate) fn watch_thread(tell: fn(u32, &[u8])) -> Option<&'static ThreadWatch> {
    static IS_HANDLED: LazyLock<bool> = LazyLock::new(install);
    if WATCH.get().is_some() || !*IS_HANDLED {
        return None;
    }
    // SAFETY: it takes nothing and cannot fail.
    let thread = unsafe { libc::gettid() };
    let watch = Box::leak(Box::new(ThreadWatch {
        thread,
        service: AtomicU32::new(0),
        message: AtomicU64::new(0),
        demanded: AtomicU64::new(0),
        demand: AtomicU8::new(0),
        is_closing: AtomicBool::new(false),
        tell,
    }));
    WATCH.set(Some(watch));
    Some(watch)
}

/// Tells whether the signal can be handled now: nobody may send it otherwise, since its default is to end the process.
fn install() -> bool {
    hooks::find();
    // SAFETY: zero is a valid `sigaction`: no flags, an empty mask. The handler is a function of the right type, and does only what is
    // allowed in one. System calls that it interrupts go on.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = interrupted as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(signal(), &raw const action, null_mut()) == 0
    }
}

impl ThreadWatch {
    /// Has something done with a service, if this thread runs it. Tells whether it does.
    pub(crate) fn ask(&self, service: u32, demand: Demand) -> bool {
        let message = self.message.load(Ordering::Acquire);
        if self.service.load(Ordering::Acquire) != service {
            return false;
        }
        self.demand.store(demand as u8, Ordering::Relaxed);
        // If another message has begun meanwhile, the handler finds another number.
        self.demanded.store(message, Ordering::Release);
        // SAFETY: it takes numbers only. A thread that is gone is an error, which means that the service does not run. If its number is in
        // use again it names a thread of this process, where the handler finds another watch or none.
        let sent =
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.thread, signal()) };
        sent == 0
    }

    /// Whether the state of a service closes on this thread.
    pub(crate) fn is_closing(&self, service: u32) -> bool {
        self.service.load(Ordering::Acquire) == service && self.is_closing.load(Ordering::Acquire)
    }

    fn is_demanded(&self) -> bool {
        self.demanded.load(Ordering::Acquire) == self.message.load(Ordering::Relaxed)
    }

    fn is_broken(&self) -> bool {
        self.is_demanded() && self.demand.load(Ordering::Relaxed) == Demand::Break as u8
    }
}

/// A message is being handled, or a state closes. Dropped when it is not any more.
#[derive(Debug)]
pub(crate) struct Running {
    before: *mut lua_State,
}

impl Running {
    /// It is the end of the state: finalizers run.
    pub(crate) fn is_closing(&self) {
        if let Some(watch) = WATCH.get() {
            watch.is_closing.store(true, Ordering::Release);
        }
    }
}

/// A service's state is about to run on this thread.
pub(crate) fn enter(lua: &OwnedState, service: u32) -> Running {
    if let Some(watch) = WATCH.get() {
        watch.service.store(service, Ordering::Relaxed);
        let message = watch.message.load(Ordering::Relaxed);
        watch.message.store(message + 1, Ordering::Release);
    }
    Running {
        before: note(lua.main()),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        note(self.before);
        if let Some(watch) = WATCH.get() {
            watch.service.store(0, Ordering::Relaxed);
            if watch.is_closing.load(Ordering::Relaxed) {
                watch.is_closing.store(false, Ordering::Relaxed);
            }
        }
    }
}

/// A state is gone, or nearly: nothing of it may be touched any more.
fn leave_state() {
    note(null_mut());
}

/// The handler of the signal. It runs between any two instructions of the thread.
extern "C" fn interrupted(_: c_int) {
    let Some(watch) = WATCH.get() else { return };
    let running = RUNNING.with(|noted| noted.load(Ordering::Relaxed));
    if !running.is_null() && watch.is_demanded() {
        // SAFETY: Lua allows this call in a handler of a signal of its thread. `running` is a coroutine that is being resumed or a state's
        // first thread: both are on Lua's stack, so that they live. One that closes is noted until its memory is given back.
        unsafe {
            ffi::lua_sethook(running, Some(hook), ffi::LUA_MASKCOUNT, 1);
            hooks::allow(running);
        }
    }
}

/// Has the instructions of a coroutine fail that goes on after an error, if its message is to end.
///
/// # Safety
/// It runs, on this thread.
unsafe fn break_on(state: *mut lua_State) {
    if !WATCH.get().is_some_and(ThreadWatch::is_broken) {
        return;
    }
    // SAFETY: as the caller says. Room is made for the value that is pushed and popped.
    unsafe {
        if ffi::lua_checkstack(state, 1) == 0 {
            return;
        }
        let is_main = ffi::lua_pushthread(state) != 0;
        ffi::lua_pop(state, 1);
        // The dispatcher is on the first thread: it goes on. A finalizer there does not.
        if !is_main || !hooks::are_allowed(state) {
            ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, 1);
            hooks::allow(state);
        }
    }
}

/// Is called by Lua before an instruction.
unsafe extern "C-unwind" fn hook(state: *mut lua_State, _: *mut ffi::lua_Debug) {
    let watch = WATCH.get().filter(|watch| watch.is_demanded());
    let demand = watch.map(|watch| watch.demand.load(Ordering::Relaxed));
    if demand == Some(Demand::Break as u8) {
        // SAFETY: a hook may raise an error, and has room for these values. Nothing here needs to be dropped.
        // The message handler of an `xpcall` fails, too.
        unsafe {
            ffi::luaL_where(state, 0);
            ffi::lua_pushstring(state, c"signal 0".as_ptr());
            ffi::lua_concat(state, 2);
            hooks::allow(state);
            ffi::lua_error(state);
        }
    }
    // SAFETY: a hook may be taken away in the hook.
    unsafe { ffi::lua_sethook(state, None, 0, 0) };
    let Some(watch) = watch else { return };
    watch.demanded.store(0, Ordering::Relaxed);
    let service = watch.service.load(Ordering::Relaxed);
    if demand == Some(Demand::Memory as u8) {
        // SAFETY: it only reads two counters.
        let (kilobytes, bytes) = unsafe {
            (
                ffi::lua_gc(state, ffi::LUA_GCCOUNT),
                ffi::lua_gc(state, ffi::LUA_GCCOUNTB),
            )
        };
        let kilobytes = f64::from(kilobytes) + f64::from(bytes) / 1024.0;
        tell(
            watch,
            service,
            format!("Current Memory {kilobytes:.3}K").as_bytes(),
        );
        return;
    }
    // SAFETY: a hook has room for a value. The text lives until it is popped. Without memory `luaL_traceback` raises an error, when nothing
    // here needs to be dropped.
    unsafe {
        ffi::luaL_traceback(state, state, std::ptr::null::<c_char>(), 0);
        let mut length = 0;
        let text = ffi::lua_tolstring(state, -1, &raw mut length);
        tell(
            watch,
            service,
            std::slice::from_raw_parts(text.cast(), length),
        );
        ffi::lua_pop(state, 1);
    }
}

fn tell(watch: &ThreadWatch, service: u32, text: &[u8]) {
    // Above this is Lua's code, which no panic may pass.
    let _ = catch_unwind(AssertUnwindSafe(|| (watch.tell)(service, text)));
}

/// `coroutine.resume`, which notes what runs.
unsafe extern "C-unwind" fn resume(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls it with arguments from 1 on, and with room for more values. It takes the values that it returns from the top.
    // Nothing here needs to be dropped where an error may be raised.
    unsafe {
        let coroutine = ffi::lua_tothread(state, 1);
        if coroutine.is_null() {
            let found = ffi::luaL_typename(state, 1);
            let why = ffi::lua_pushfstring(state, c"coroutine expected, got %s".as_ptr(), found);
            return ffi::luaL_argerror(state, 1, why);
        }
        match run(state, coroutine, ffi::lua_gettop(state) - 1) {
            Ok(count) => {
                ffi::lua_pushboolean(state, 1);
                ffi::lua_insert(state, -(count + 1));
                count + 1
            }
            Err(()) => {
                ffi::lua_pushboolean(state, 0);
                ffi::lua_insert(state, -2);
                break_on(state);
                2
            }
        }
    }
}

/// Resumes a coroutine with the values on the top of the stack. Leaves its values there and tells their number, or leaves an error.
///
/// # Safety
/// `state` runs, `coroutine` is another one of it or itself, and there are `count` values.
unsafe fn run(state: *mut lua_State, coroutine: *mut lua_State, count: c_int) -> Result<c_int, ()> {
    // SAFETY: as the caller says. Room is made before values are moved. No call between the two changes of `RUNNING` raises an error:
    // `lua_resume` returns it.
    unsafe {
        if ffi::lua_checkstack(coroutine, count) == 0 {
            ffi::lua_pushstring(state, c"too many arguments to resume".as_ptr());
            return Err(());
        }
        ffi::lua_xmove(state, coroutine, count);
        let mut results = 0;
        let before = note(coroutine);
        let status = ffi::lua_resume(coroutine, state, count, &raw mut results);
        note(before);
        if status != ffi::LUA_OK && status != ffi::LUA_YIELD {
            ffi::lua_xmove(coroutine, state, 1);
            return Err(());
        }
        if ffi::lua_checkstack(state, results + 1) == 0 {
            ffi::lua_pop(coroutine, results);
            ffi::lua_pushstring(state, c"too many results to resume".as_ptr());
            return Err(());
        }
        ffi::lua_xmove(coroutine, state, results);
        Ok(results)
    }
}

/// `coroutine.wrap`, which notes what runs.
unsafe extern "C-unwind" fn wrap(state: *mut lua_State) -> c_int {
    // SAFETY: as with `resume`. The new coroutine is on the stack until the function has it.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        let coroutine = ffi::lua_newthread(state);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_xmove(state, coroutine, 1);
        ffi::lua_pushcclosure(state, wrapped, 1);
        1
    }
}

/// The function that `wrap` returns. Its upvalue is the coroutine.
unsafe extern "C-unwind" fn wrapped(state: *mut lua_State) -> c_int {
    // SAFETY: as with `resume`. `debug.setupvalue` may have put something else there: that is no coroutine, and refused.
    unsafe {
        let coroutine = ffi::lua_tothread(state, ffi::lua_upvalueindex(1));
        if coroutine.is_null() {
            return ffi::luaL_argerror(state, 1, c"its coroutine is gone".as_ptr());
        }
        if let Ok(count) = run(state, coroutine, ffi::lua_gettop(state)) {
            return count;
        }
        let mut status = ffi::lua_status(coroutine);
        if status != ffi::LUA_OK && status != ffi::LUA_YIELD {
            // What it was about to close is closed now, and may change the error.
            status = ffi::lua_closethread(coroutine, state);
            ffi::lua_xmove(coroutine, state, 1);
        }
        if status != ffi::LUA_ERRMEM && ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
            ffi::luaL_where(state, 1);
            ffi::lua_insert(state, -2);
            ffi::lua_concat(state, 2);
        }
        ffi::lua_error(state)
    }
}

/// Has a function called when the process ends by `exit`, also in the middle of a script.
pub(crate) fn at_exit(function: extern "C" fn()) {
    // SAFETY: the function takes nothing and lives as long as the process.
    unsafe { libc::atexit(function) };
}
