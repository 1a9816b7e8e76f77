//! `skynet.socket` against peers that are no services: slow, rude and silent ones.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use moorline_tests::{Finish, Site};
use socket2::{Domain, SockRef, Socket, Type};

use super::script::{main_of, passes};

/// Runs a script against a peer, once on one loop and once on two. The script finds the peer's port in `PORT`. The peer serves one
/// connection after the other, and its failures are the test's.
#[track_caller]
fn against(peer: impl Fn(TcpStream) + Send + 'static, body: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = is_over.clone();
    let serving = thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if seen.load(Ordering::SeqCst) {
                return;
            }
            let patience = Some(Duration::from_secs(60));
            stream.set_read_timeout(patience).expect("it is set");
            peer(stream);
        }
    });
    let head = "local socket = require 'skynet.socket'";
    let body = format!("local PORT = {}\n{head}\n{body}", address.port());
    passes(&body, &[]);
    is_over.store(true, Ordering::SeqCst);
    TcpStream::connect(address).expect("it listens still");
    serving.join().expect("the peer found nothing wrong");
}

#[test]
fn a_peer_that_has_ended_its_stream_still_gets_an_answer() {
    against(
        |mut stream| {
            stream.write_all(b"question").expect("it is sent");
            stream.shutdown(Shutdown::Write).expect("it is open");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it is answered");
            assert_eq!(answer, "answer");
        },
        "local id = assert(socket.open('127.0.0.1', PORT))
        local closed
        socket.onclose(id, function(which) closed = which end)
        assert(socket.readall(id) == 'question' and socket.disconnected(id))
        skynet.sleep(1)
        assert(closed == id)
        assert(socket.write(id, 'answer'))
        socket.close(id)",
    );
}

#[test]
fn a_connection_that_the_peer_resets_ends_for_its_reader_alone() {
    against(
        |mut stream| {
            let _ = stream.read_exact(&mut [0]);
            let zero = Some(Duration::ZERO);
            SockRef::from(&stream).set_linger(zero).expect("it is set");
        },
        "local quiet = assert(socket.open('127.0.0.1', PORT))
        local id = assert(socket.open('127.0.0.1', PORT))
        socket.write(quiet, 'x')
        local data, rest = socket.read(quiet, 10)
        assert(data == false and rest == '' and socket.disconnected(quiet))
        assert(socket.write(quiet, 'x') == false)
        socket.close(quiet)
        assert(socket.disconnected(id) == false)
        local closed, waiter = nil, {}
        socket.onclose(id, function(which) closed = which skynet.wakeup(waiter) end)
        socket.write(id, 'x')
        assert(socket.block(id) == false)
        if not closed then skynet.wait(waiter) end
        assert(closed == id and not pcall(socket.readline, id, ''))
        socket.close(id)
        -- One that has failed is listed no longer when it is abandoned.
        id = assert(socket.open('127.0.0.1', PORT))
        socket.write(id, 'x')
        assert(socket.block(id) == false)
        socket.abandon(id)
        for _, info in ipairs(socket.netstat()) do assert(info.id ~= id) end",
    );
}

#[test]
fn a_reader_takes_its_time_and_the_peer_waits() {
    against(
        |mut stream| {
            let bytes = vec![b'x'; 1 << 20];
            for _ in 0..16 {
                stream.write_all(&bytes).expect("it is taken");
            }
        },
        "local id = assert(socket.open('127.0.0.1', PORT))
        assert(socket.block(id))
        socket.pause(id)
        skynet.sleep(10)
        for _, info in ipairs(socket.netstat()) do
            if info.id == id then
                assert(info.type == 'TCP' and info.address == skynet.self() and info.read < 1 << 20, info.read)
                assert(info.peer == '127.0.0.1:' .. PORT and info.wbuffer == 0)
            end
        end
        local size = 0
        while true do
            local data = socket.read(id)
            if not data then break end
            size = size + #data
        end
        assert(size == 16 << 20, size)
        socket.close(id)",
    );
}

#[test]
fn a_peer_that_sends_more_than_the_limit_is_cut_off() {
    against(
        |mut stream| {
            let bytes = vec![b'x'; 64 << 10];
            while stream.write_all(&bytes).is_ok() {}
        },
        "local id = assert(socket.open('127.0.0.1', PORT))
        socket.limit(id, 200000)
        local line, rest = socket.readline(id)
        assert(line == false and #rest > 200000 and socket.disconnected(id))
        socket.close(id)",
    );
}

#[test]
fn writes_are_sent_before_a_close_and_lost_by_a_shutdown() {
    against(
        |mut stream| {
            let mut first = [0];
            stream.read_exact(&mut first).expect("something comes");
            thread::sleep(Duration::from_millis(50));
            let mut size = 0_u64;
            let mut bytes = vec![0; 1 << 16];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                size += count as u64;
            }
            match first {
                [b'c'] => assert_eq!(size, 32 << 20),
                _ => assert!(size < 32 << 20, "{size}"),
            }
        },
        "local warned = {}
        for _, how in ipairs { 'close', 'shutdown' } do
            local id = assert(socket.open('127.0.0.1', PORT))
            socket.warning(id, function(which, size) assert(which == id) warned[#warned + 1] = size end)
            assert(socket.write(id, how:sub(1, 1)))
            local text = ('x'):rep(1 << 20)
            for i = 1, 32 do assert(socket.lwrite(id, text)) end
            skynet.yield()
            socket[how](id)
            assert(socket.write(id, 'x') == false)
            assert(socket.invalid(id) == (how == 'close'))
            socket.close(id)
            -- It is listed until the last byte is sent.
            local function is_listed()
                for _, info in ipairs(socket.netstat()) do
                    if info.id == id then return true end
                end
            end
            while is_listed() do skynet.sleep(1) end
        end
        assert(warned[1] > 1024 and #warned > 1)",
    );
}

#[test]
fn a_peer_that_reads_nothing_costs_no_more_than_the_longest_queue() {
    let kept = Mutex::new(Vec::new());
    against(
        move |stream| kept.lock().expect("no peer has failed").push(stream),
        "local id = assert(socket.open('127.0.0.1', PORT))
        socket.warning(id, function() end)
        local text, count = ('x'):rep(1 << 20), 0
        while socket.write(id, text) do count = count + 1 end
        assert(count > 128 and count < 160, count)
        assert(socket.read(id) == false and socket.disconnected(id))
        socket.close(id)",
    );
}

#[test]
fn a_connection_that_nobody_accepts_fails_at_the_deadline() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
    let any = "127.0.0.1:0".parse::<std::net::SocketAddr>();
    listener
        .bind(&any.expect("it is an address").into())
        .expect("there is a free port");
    listener.listen(0).expect("it listens");
    let address = listener.local_addr().expect("it is bound");
    let address = address.as_socket().expect("it is of IP");
    // The backlog is full with one or two.
    let full: Vec<_> = (0..2)
        .map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(200)))
        .collect();
    let body = format!(
        "local socket = require 'skynet.socket'
        local before = skynet.now()
        local id, err = socket.open('127.0.0.1', {})
        assert(id == nil and err == 'Connection timed out', err)
        assert(skynet.now() - before >= 450)",
        address.port()
    );
    passes(&body, &[]);
    drop(full);
}

#[test]
fn a_process_without_free_descriptors_says_so_and_goes_on_when_it_has_some() {
    let main = main_of(
        "local socket = require 'skynet.socket'
        local listener, _, port = socket.listen('127.0.0.1', 0)
        local accepted = {}
        socket.start(listener, function(id)
            socket.start(id)
            accepted[#accepted + 1] = id
        end)
        local ids = {}
        while true do
            local id, err = socket.open('127.0.0.1', port)
            if not id then
                assert(err == 'Too many open files', err)
                break
            end
            ids[#ids + 1] = id
        end
        for i = 1, #ids // 2 do socket.close(ids[i]) end
        for _, id in ipairs(accepted) do
            socket.close(id)
        end
        local before = #accepted
        local again = assert(socket.open('127.0.0.1', port))
        while #accepted == before do skynet.sleep(1) end
        print 'done'",
    );
    let site = Site::new("moorline", "");
    site.write("main.lua", &main);
    let program = site.command(&[]).get_program().to_owned();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 60; exec \"$0\" run main.lua"])
        .arg(program)
        .current_dir(site.path(""));
    let finished = command.finish();
    assert!(finished.stdout.ends_with("done\n"), "{finished:#?}");
}

#[test]
fn standard_input_is_read_as_a_socket() {
    let main = main_of(
        "local socket = require 'skynet.socket'
        local id = assert(socket.stdin())
        assert(socket.readline(id) == 'first' and socket.readall(id) == 'rest')
        socket.close(id)
        local none, err = socket.bind(9999)
        assert(none == nil and err == 'Bad file descriptor', err)
        print 'done'",
    );
    let site = Site::new("moorline", "");
    site.write("main.lua", &main);
    let mut child = site
        .command(&["run", "main.lua"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(b"first\nrest").expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n");
}
