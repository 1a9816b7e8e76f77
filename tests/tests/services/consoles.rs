//! The consoles.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use moorline_tests::Site;

/// A running script with a debug console.
struct Consoled {
    site: Arc<Site>,
    process: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Drop for Consoled {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A service with a table that `inject` can reach.
const COUNTER: &str = "local skynet = require 'skynet'
    local C, count = {}, { value = 7 }
    function C.add(n) count.value = count.value + n return count.value, 'twice', nil end
    function C.wait() skynet.wait() end
    skynet.start(function()
        skynet.info_func(function(word) return { word = word, value = count.value } end)
        require 'skynet.debug'.reg_debugcmd('DOUBLE', function(n) skynet.retpack { n .. n } end)
        skynet.dispatch('lua', function(_, _, name, ...) skynet.retpack(C[name](...)) end)
    end)";

const MAIN: &str = "local skynet = require 'skynet'
    require 'skynet.manager'
    skynet.start(function()
        skynet.name('.counter', skynet.newservice('counter', 'a', 'b'))
        skynet.uniqueservice 'once'
        skynet.newservice('debug_console', 0)
        skynet.exit()
    end)";

impl Consoled {
    fn start() -> Self {
        let site = Site::new("moorline", "");
        site.write("main.lua", MAIN);
        site.write("counter.lua", COUNTER);
        site.write("once.lua", "require('skynet').start(function() end)");
        let mut command = site.command(&["run", "main.lua"]);
        let mut process = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("Start debug console at 127.0.0.1:") {
            line.clear();
            assert_ne!(
                output.read_line(&mut line).expect("it logs"),
                0,
                "no console is started"
            );
        }
        let (_, port) = line.trim().rsplit_once(':').expect("it names its port");
        let port = port.parse().expect("a port is a number");
        Self {
            site,
            process,
            output,
            port,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the console listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("it has a limit");
        stream
    }
}

/// A client of the console.
struct Terminal(BufReader<TcpStream>);

impl Terminal {
    fn open(console: &Consoled) -> Self {
        let mut terminal = Self(BufReader::new(console.connect()));
        assert_eq!(terminal.line(), "Welcome to skynet console");
        terminal
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the console answers");
        line.trim_end_matches('\n').to_owned()
    }

    /// What a command writes, up to its last line.
    fn ask(&mut self, command: &str) -> (Vec<String>, bool) {
        writeln!(self.0.get_mut(), "{command}").expect("the console reads");
        let mut lines = Vec::new();
        loop {
            match self.line() {
                line if line == "<CMD OK>" => return (lines, true),
                line if line == "<CMD Error>" => return (lines, false),
                line if line.is_empty() => panic!("the console has closed after {lines:?}"),
                line => lines.push(line),
            }
        }
    }

    #[track_caller]
    fn well(&mut self, command: &str) -> Vec<String> {
        let (lines, is_well) = self.ask(command);
        assert!(is_well, "{command}: {lines:?}");
        lines
    }

    #[track_caller]
    fn fails(&mut self, command: &str, word: &str) {
        let (lines, is_well) = self.ask(command);
        assert!(
            !is_well && lines.concat().contains(word),
            "{command}: {lines:?}"
        );
    }
}

/// The address that a list gives for a service.
fn address_of(lines: &[String], name: &str) -> String {
    let line = lines
        .iter()
        .find(|line| line.split_once('\t').is_some_and(|(_, rest)| rest == name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {lines:?}"));
    line.split('\t').next().unwrap_or_default().to_owned()
}

#[test]
fn the_debug_console_lists_services_in_order_and_measures_them() {
    let console = Consoled::start();
    let mut terminal = Terminal::open(&console);
    let listed = terminal.well("list");
    assert!(
        listed.is_sorted() && listed.iter().all(|line| line.starts_with(":0000")),
        "{listed:?}"
    );
    let counter = address_of(&listed, "snlua counter a b");
    address_of(&listed, "snlua debug_console 0");
    let unique = terminal.well("service");
    assert!(
        unique.iter().any(|line| line.starts_with("once\t")),
        "{unique:?}"
    );
    let stat = terminal.well("stat");
    let line = stat
        .iter()
        .find(|line| line.starts_with(&counter))
        .expect("it has a line");
    assert!(
        line.contains("\tcpu:") && line.contains("\tmessage:") && line.contains("mqlen:0"),
        "{line}"
    );
    let memory = terminal.well("mem 500");
    assert!(
        memory
            .iter()
            .any(|line| line.starts_with(&counter) && line.ends_with(" Kb (snlua counter a b)")),
        "{memory:?}"
    );
    assert_eq!(terminal.well("gc").len(), memory.len());
    assert!(terminal.well("ping .counter")[0].parse::<u32>().is_ok());
    let help = terminal.well("help");
    assert!(help.is_sorted(), "{help:?}");
    for name in "list stat mem kill gc exit inject dbgcmd task killtask uniqtask info debug logon logoff signal cmem jmem ping \
                 trace call netstat dumpheap profactive getenv setenv start log snax service clearcache shrtbl"
        .split_whitespace()
    {
        assert!(help.iter().any(|line| line.starts_with(&format!("{name}\t"))), "{name}");
    }
}

#[test]
fn the_debug_console_calls_looks_into_and_changes_services() {
    let console = Consoled::start();
    let mut terminal = Terminal::open(&console);
    assert_eq!(
        terminal.well("call .counter 'add', 1 + 1"),
        ["1\t9", "2\ttwice", "n\t3"]
    );
    let counter = address_of(&terminal.well("list"), "snlua counter a b");
    let bare = counter.trim_start_matches(':').to_owned();
    assert_eq!(
        terminal.well(&format!("info {bare} x")),
        ["value\t9", "word\tx"]
    );
    assert_eq!(
        terminal.well(&format!("dbgcmd {counter} DOUBLE ab")),
        ["1\tabab"]
    );
    console.site.write(
        "patch.lua",
        "local word = ...
        local _, count = debug.getupvalue(_P.lua.C.add, 1)
        print('now', count.value, word)
        count.value = 40",
    );
    assert_eq!(
        terminal.well(&format!("inject {counter} patch.lua hello")),
        ["now\t9\thello"]
    );
    assert_eq!(terminal.well("call .counter 'add', 2")[0], "1\t42");
    console.site.write("wrong.lua", "error 'no luck'");
    terminal.fails(
        &format!("inject {counter} wrong.lua"),
        "wrong.lua:1: no luck",
    );
    assert_eq!(
        terminal.well("inject .counter absent.lua"),
        ["Can't open absent.lua"]
    );
    assert_eq!(terminal.well("setenv colour blue"), [""; 0]);
    assert_eq!(terminal.well("getenv colour"), ["colour\tblue"]);
    terminal.fails("setenv colour red", "Can't setenv exist key : colour");
}

#[test]
fn the_debug_console_ends_tasks_and_services() {
    let console = Consoled::start();
    let (mut terminal, mut other) = (Terminal::open(&console), Terminal::open(&console));
    let counter = address_of(&terminal.well("list"), "snlua counter a b");
    writeln!(other.0.get_mut(), "call .counter 'wait'").expect("the console reads");
    let tasks = loop {
        let tasks = terminal.well("task .counter");
        if !tasks.is_empty() {
            break tasks;
        }
    };
    let thread = tasks[0]
        .split(' ')
        .nth(1)
        .expect("it names its thread")
        .to_owned();
    assert!(tasks[0].starts_with("thread: 0x"), "{tasks:?}");
    assert!(terminal.well("uniqtask .counter")[0].starts_with("1\tsessions:["));
    terminal.well(&format!("killtask .counter {thread}"));
    assert_eq!(terminal.well("task .counter"), [""; 0]);
    // Its caller is told.
    while other.line() != "<CMD Error>" {}
    let started = address_of(&terminal.well("start once x"), "once");
    assert_eq!(terminal.well("start absent"), ["Failed"]);
    assert_eq!(
        terminal.well(&format!("kill {started}")),
        [format!("{started}\tsnlua once x")]
    );
    terminal.well(&format!("exit {counter}"));
    while terminal
        .well("list")
        .iter()
        .any(|line| line.starts_with(&counter))
    {}
    let sockets = terminal.well("netstat");
    assert!(
        sockets.iter().any(|line| line.contains("\ttype:LISTEN")),
        "{sockets:?}"
    );
    terminal.well("clearcache");
}

/// The lines of the messages that a service has received: sender, kind, session, time, bytes.
fn logged(console: &Consoled, counter: &str) -> Vec<Vec<String>> {
    let name = format!("logs/{}.log", counter.trim_start_matches(':'));
    let text = std::fs::read_to_string(console.site.path(&name)).expect("it is written");
    let lines = text.lines().map(|line| line.split(' ').map(str::to_owned));
    lines.map(Iterator::collect).collect()
}

#[test]
fn the_messages_of_a_service_are_written_from_logon_to_logoff() {
    let console = Consoled::start();
    let mut terminal = Terminal::open(&console);
    let counter = address_of(&terminal.well("list"), "snlua counter a b");
    terminal.well("setenv logpath logs");
    terminal.fails("logon .counter", "cannot open logs/");
    console.site.write("logs/here", "");
    let path = format!("logs/{}.log", counter.trim_start_matches(':'));
    assert_eq!(terminal.well("logon .counter"), [path.as_str()]);
    terminal.well("call .counter 'add', 1");
    terminal.well("logon .counter");
    terminal.well("logoff .counter");
    terminal.well("call .counter 'add', 1");
    let lines = logged(&console, &counter);
    let [open, message, close] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!((&*open[0], &*open[1], open.len()), ("open", "time:", 4));
    assert_eq!((&*close[0], &*close[1], close.len()), ("close", "time:", 3));
    let [sender, kind, session, time, bytes] = &message[..] else {
        panic!("{message:?}");
    };
    assert_eq!(
        *sender,
        address_of(&terminal.well("list"), "snlua debug_console 0")
    );
    assert_eq!(kind, "10");
    assert!(session.parse::<u32>().is_ok_and(|session| session > 0) && time.parse::<u32>().is_ok());
    console.site.write(
        "bytes.lua",
        format!(
            "local bytes = ('{bytes}'):gsub('..', function(pair) return string.char(tonumber(pair, 16)) end)
            print(require 'skynet'.unpack(bytes))"
        ),
    );
    assert_eq!(terminal.well("inject .counter bytes.lua"), ["add\t1"]);
    assert_eq!(terminal.well("logoff .counter"), ["Nothing was written"]);
}

#[test]
fn there_is_a_most_of_services_whose_messages_are_written() {
    let console = Consoled::start();
    let mut terminal = Terminal::open(&console);
    console.site.write("logs/here", "");
    terminal.well("setenv logpath logs");
    let mut started = Vec::new();
    for _ in 0..64 {
        started.push(address_of(&terminal.well("log once"), "once"));
    }
    terminal.fails(
        "logon .counter",
        "the messages of 64 services are written already",
    );
    // One more is launched nevertheless. The end of a service ends its file.
    terminal.well("log once");
    terminal.well(&format!("kill {}", started[0]));
    while !terminal.ask("logon .counter").1 {}
    let lines = logged(&console, &started[0]);
    assert_eq!(
        lines.last().map(|line| &*line[0]),
        Some("close"),
        "{lines:?}"
    );
}

/// Commands that cannot be done, and words of what they say.
const WRONG: &[(&str, &str)] = &[
    ("dance", "Invalid command"),
    ("ping", "Need an address"),
    ("ping xyz", "Need an address"),
    ("ping .nobody", "Not a valid name"),
    ("ping :00ffffff", "call to invalid address :00ffffff"),
    ("call .counter", "need arguments"),
    ("call .counter os.exit()", "debug console"),
    ("call .counter 'nothing'", ""),
    ("stat many", "Need a number"),
    ("signal .nobody 0", "Not a valid name"),
    ("signal .counter much", "Need a number"),
    (
        "debug .counter",
        "debug is not in this version of Moorline: use inject",
    ),
    ("shrtbl", "shrtbl is not in this version of Moorline"),
    ("logon .counter", "the configuration has no logpath"),
    ("logon :00ffffff", "there is no service :00ffffff"),
    ("logoff", "Need an address"),
    ("getenv", "Need a name"),
    ("setenv colour", "Need a name and a value"),
];

#[test]
fn a_command_that_cannot_be_done_is_an_error_and_the_console_goes_on() {
    let mut console = Consoled::start();
    let mut terminal = Terminal::open(&console);
    for (command, word) in WRONG {
        terminal.fails(command, word);
    }
    terminal.well("list");
    // A line without an end closes the connection of its client, and no other.
    let mut endless = console.connect();
    let chunk = [b'x'; 16 * 1024];
    while endless.write_all(&chunk).is_ok() {}
    terminal.well("list");
    let mut asking = console.connect();
    write!(
        asking,
        "GET /call/.counter/'add',1 HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    .expect("it reads");
    let mut answer = String::new();
    asking
        .read_to_string(&mut answer)
        .expect("it answers and closes");
    assert_eq!(
        answer,
        "Welcome to skynet console\n1\t8\n2\ttwice\nn\t3\n<CMD OK>\n"
    );
    let mut asking = console.connect();
    write!(
        asking,
        "POST / HTTP/1.1\r\nContent-Length: 14\r\n\r\ngetenv absent\n"
    )
    .expect("it reads");
    let mut answer = String::new();
    asking
        .read_to_string(&mut answer)
        .expect("it answers and closes");
    assert_eq!(answer, "Welcome to skynet console\nabsent\tnil\n<CMD OK>\n");
    let mut logged = String::new();
    while !logged.contains("disconnect") {
        console.output.read_line(&mut logged).expect("it logs");
    }
    assert!(logged.contains("connected"), "{logged}");
}

#[test]
fn the_console_launches_what_standard_input_names() {
    let site = Site::new("moorline", "");
    site.write(
        "main.lua",
        "local skynet = require 'skynet'
        skynet.start(function() skynet.newservice 'console' skynet.exit() end)",
    );
    site.write(
        "said.lua",
        "local skynet = require 'skynet'
        print('said', ...)
        skynet.start(function() skynet.exit() end)",
    );
    let mut command = site.command(&["run", "main.lua"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("the program can be run");
    let mut input = process.stdin.take().expect("it is piped");
    input
        .write_all(b"\nabsent\nsaid one two\n  said\n")
        .expect("it reads");
    drop(input);
    let output = process.wait_with_output().expect("it ends with its input");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let said: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("said"))
        .collect();
    assert_eq!(said, ["said\tone\ttwo", "said"], "{output}");
    assert!(output.contains("no file './absent.lua'"), "{output}");
}
