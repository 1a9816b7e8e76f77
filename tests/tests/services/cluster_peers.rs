//! `skynet.cluster` against peers that write its frames by hand: as skynet does, and otherwise.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use moorline_tests::Site;

use super::cluster::{Node, server};
use super::script::main_of;

/// The bytes of a frame.
fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).expect("a frame is short");
    [&length.to_be_bytes()[..], &content].concat()
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut content = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut content).ok()?;
    Some(content)
}

fn patient(stream: TcpStream) -> TcpStream {
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("it is set");
    stream
}

/// Runs a start function that calls the node `peer`, each of whose connections this serves.
#[track_caller]
fn calls(body: &str, peers: Vec<fn(TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let serving = thread::spawn(move || {
        for peer in peers {
            let (stream, _) = listener.accept().expect("it connects");
            peer(patient(stream));
        }
    });
    let site = Site::new("moorline", "");
    let body = format!(
        "local cluster = require 'skynet.cluster'
        cluster.reload {{ peer = '{address}' }}\n{body}\nprint 'done'"
    );
    site.write("main.lua", main_of(&body));
    Node::start(&site, &["main.lua"]).says("done");
    serving.join().expect("the peer found nothing wrong");
}

/// The packed text `hi`.
const HI: &[u8] = &[20, b'h', b'i'];

#[test]
fn requests_and_answers_have_the_bytes_of_skynet() {
    calls(
        "assert(cluster.call('peer', 5, 'hi') == 'hi')
        cluster.send('peer', '@a', 'hi')
        assert(cluster.call('peer', '@a', 'hi') == 7)
        local ok, why = pcall(cluster.call, 'peer', 5, 'hi')
        assert(not ok and why:find('a reason', 1, true), why)
        assert(cluster.call('peer', 5, ('x'):rep(40000)) == ('y'):rep(33000))
        cluster.send('peer', '@a', ('x'):rep(40000))
        assert(cluster.query('peer', 'hi') == 300)",
        vec![|mut stream| {
            let mut expect = |expected: &[&[u8]], answers: &[&[&[u8]]]| {
                for part in expected {
                    assert_eq!(read_frame(&mut stream).as_deref(), Some(*part));
                }
                for answer in answers {
                    stream.write_all(&frame(answer)).expect("it is read");
                }
            };
            let request = [&[0, 5, 0, 0, 0, 1, 0, 0, 0][..], HI].concat();
            expect(&[&request], &[&[&[1, 0, 0, 0, 1], HI]]);
            let push = [&[0x80, 2, b'@', b'a', 0, 0, 0, 0][..], HI].concat();
            expect(&[&push], &[]);
            let named = [&[0x80, 2, b'@', b'a', 3, 0, 0, 0][..], HI].concat();
            expect(&[&named], &[&[&[3, 0, 0, 0, 1, 10, 7]]]);
            let request = [&[0, 5, 0, 0, 0, 4, 0, 0, 0][..], HI].concat();
            expect(&[&request], &[&[&[4, 0, 0, 0, 0], b"a reason"]]);
            // 40000 bytes with their head in parts, 33000 in the answer.
            let long = [&[21, 64, 156][..], &[b'x'; 40_000]].concat();
            let (one, two) = long.split_at(0x8000);
            let answer = [&[21, 232, 128][..], &[b'y'; 33_000]].concat();
            expect(
                &[
                    &[1, 5, 0, 0, 0, 5, 0, 0, 0, 67, 156, 0, 0],
                    &[&[2, 5, 0, 0, 0][..], one].concat(),
                    &[&[3, 5, 0, 0, 0][..], two].concat(),
                ],
                &[
                    &[&[5, 0, 0, 0, 2, 235, 128, 0, 0]],
                    &[&[5, 0, 0, 0, 3], &answer[..0x8000]],
                    &[&[5, 0, 0, 0, 4], &answer[0x8000..]],
                ],
            );
            expect(
                &[
                    &[0xc1, 2, b'@', b'a', 6, 0, 0, 0, 67, 156, 0, 0],
                    &[&[2, 6, 0, 0, 0][..], one].concat(),
                    &[&[3, 6, 0, 0, 0][..], two].concat(),
                ],
                &[],
            );
            let query = [&[0, 0, 0, 0, 0, 7, 0, 0, 0][..], HI].concat();
            expect(&[&query], &[&[&[7, 0, 0, 0, 1, 18, 44, 1]]]);
        }],
    );
}

#[test]
fn the_tag_of_a_trace_goes_before_its_request() {
    calls(
        "skynet.trace 'far'
        assert(cluster.call('peer', 5, 'hi') == 'hi')
        cluster.send('peer', 6, 'hi')",
        vec![|mut stream| {
            let tag = read_frame(&mut stream).expect("it is sent");
            assert_eq!(tag[0], 4);
            let tag = String::from_utf8_lossy(&tag[1..]).into_owned();
            assert!(tag.starts_with(':'), "{tag}");
            let request = [&[0, 5, 0, 0, 0, 1, 0, 0, 0][..], HI].concat();
            assert_eq!(read_frame(&mut stream), Some(request));
            let answer = frame(&[&[1, 0, 0, 0, 1], HI]);
            stream.write_all(&answer).expect("it is read");
        }],
    );
}

/// A peer that reads one request and answers with these bytes.
macro_rules! answering {
    ($($answer:expr),* $(,)?) => {
        vec![$({
            fn answer(mut stream: TcpStream) {
                assert!(read_frame(&mut stream).is_some());
                stream.write_all(&$answer).expect("it is sent");
                // It is the other side that ends the connection.
                assert_eq!(read_frame(&mut stream), None);
            }
            answer as fn(TcpStream)
        }),*]
    };
}

#[test]
fn answers_that_break_the_protocol_end_the_connection_and_the_call() {
    let mut peers = answering![
        frame(&[]),
        frame(&[&[1, 0, 0]]),
        frame(&[&[1, 0, 0, 0, 9]]),
        frame(&[&[2, 0, 0, 0, 2, 1, 0, 0, 0]]),
        frame(&[&[5, 0, 0, 0, 3]]),
        frame(&[&[6, 0, 0, 0, 2, 1, 0, 0, 0, 0]]),
        frame(&[&[7, 0, 0, 0, 2, 1, 0, 0, 255]]),
        [
            frame(&[&[8, 0, 0, 0, 2, 1, 0, 0, 0]]),
            frame(&[&[8, 0, 0, 0, 4, 1, 2]])
        ]
        .concat(),
        [
            frame(&[&[9, 0, 0, 0, 2, 2, 0, 0, 0]]),
            frame(&[&[9, 0, 0, 0, 4, 1]])
        ]
        .concat(),
        [
            frame(&[&[10, 0, 0, 0, 2, 2, 0, 0, 0]]),
            frame(&[&[10, 0, 0, 0, 3]]).repeat(2)
        ]
        .concat(),
    ];
    peers.push(|mut stream| {
        assert!(read_frame(&mut stream).is_some());
        // One that nobody waits for, one that is no packed value, and one that is.
        let answers = [
            frame(&[&[99, 0, 0, 0, 1, 0]]),
            frame(&[&[11, 0, 0, 0, 1, 7]]),
        ];
        stream.write_all(&answers.concat()).expect("it is sent");
        assert!(read_frame(&mut stream).is_some());
        let answer = frame(&[&[12, 0, 0, 0, 1], HI]);
        stream.write_all(&answer).expect("it is sent");
    });
    calls(
        "for i = 1, 10 do
            local ok, why = pcall(cluster.call, 'peer', 5, i)
            assert(not ok and #why > 0, why)
        end
        local ok, why = pcall(cluster.call, 'peer', 5, 11)
        assert(not ok and why:find('Invalid serialize stream', 1, true), why)
        assert(cluster.call('peer', 5, 12) == 'hi')",
        peers,
    );
}

#[test]
fn calls_that_wait_for_a_node_are_bounded() {
    calls(
        "local waiter, failed = {}, 0
        cluster.get_sender 'peer'
        for i = 1, 65536 + 3 do
            skynet.fork(function()
                local ok, why = pcall(cluster.call, 'peer', 5)
                failed = failed + 1
                assert(not ok and why:find(failed <= 3 and 'too many calls wait' or 'lost', 1, true), why)
                if failed == 3 then cluster.send('peer', 6) end
                if failed == 65536 + 3 then skynet.wakeup(waiter) end
            end)
        end
        skynet.wait(waiter)",
        vec![|mut stream| {
            let mut count = 0;
            // The last is the message.
            while read_frame(&mut stream).is_some_and(|frame| frame[1] == 5) {
                count += 1;
            }
            assert_eq!(count, 65_536);
        }],
    );
}

/// A process that listens, and the site of its files.
fn listening() -> (Node, String) {
    let site: Arc<Site> = Site::new("moorline", "");
    site.write("b.lua", server("b", "0"));
    let mut node = Node::start(&site, &["b.lua"]);
    let port = node.says("listening ");
    (node, format!("127.0.0.1:{port}"))
}

fn connect(address: &str) -> TcpStream {
    patient(TcpStream::connect(address).expect("it listens"))
}

/// Calls `who` by name under a session.
fn who(stream: &mut TcpStream, session: u8) -> Option<Vec<u8>> {
    let name = [&[0x80, 7][..], b"@server"].concat();
    let request = frame(&[&name, &[session, 0, 0, 0], &[28], b"who"]);
    stream.write_all(&request).ok()?;
    read_frame(stream)
}

#[test]
fn requests_of_skynet_are_answered_with_its_bytes() {
    let (_node, address) = listening();
    let mut stream = connect(&address);
    let mut ask = |frames: &[&[&[u8]]]| {
        for parts in frames {
            stream.write_all(&frame(parts)).expect("it is read");
        }
        read_frame(&mut stream).expect("it is answered")
    };
    let name = [&[7][..], b"@server"].concat();
    let echo = |session: u8, rest: &[u8]| {
        [&[0x80][..], &name, &[session, 0, 0, 0, 36], b"echo", rest].concat()
    };
    let answer = ask(&[&[&echo(1, &[9, 2, 66, 0, 0, 0, 0, 0, 0, 248, 63])]]);
    assert_eq!(answer, [1, 0, 0, 0, 1, 9, 2, 66, 0, 0, 0, 0, 0, 0, 248, 63]);
    // The tag of a trace, a message that waits for no answer, and a call that shows it.
    let put = [&[0x80][..], &name, &[0, 0, 0, 0, 28], b"put", &[10, 9]].concat();
    let got = [&[0x80][..], &name, &[2, 0, 0, 0, 28], b"got"].concat();
    assert_eq!(
        ask(&[&[&[4], b"tag"], &[&put], &[&[4], b"(a-b-1):1-1"], &[&got]]),
        [2, 0, 0, 0, 1, 12, b'9']
    );
    let query = ask(&[&[&[0, 0, 0, 0, 0, 3, 0, 0, 0, 52], b"server"]]);
    assert_eq!(query[..5], [3, 0, 0, 0, 1]);
    let unknown = ask(&[&[&[0, 0, 0, 0, 0, 4, 0, 0, 0, 12], b"x"]]);
    assert_eq!(unknown, [&[4, 0, 0, 0, 0][..], b"name not found"].concat());
    // In parts of which others come between.
    let message = [&[36][..], b"echo", &[37, 0, 0, 1, 0], &[b'x'; 65_536]].concat();
    let size = u32::try_from(message.len()).expect("it is short");
    let answer = ask(&[
        &[&[0x81], &name, &[5, 0, 0, 0], &size.to_le_bytes()],
        &[&[2, 5, 0, 0, 0], &message[..0x8000]],
        &[&echo(6, &[0])],
    ]);
    assert_eq!(answer, [6, 0, 0, 0, 1, 0]);
    let answer = ask(&[
        &[&[2, 5, 0, 0, 0], &message[0x8000..0x10000]],
        &[&[3, 5, 0, 0, 0], &message[0x10000..]],
    ]);
    assert_eq!(
        answer,
        [&[5, 0, 0, 0, 2][..], &65_541_u32.to_le_bytes()].concat()
    );
    let expected = &message[5..];
    for (kind, part) in [3, 3, 4].into_iter().zip(expected.chunks(0x8000)) {
        let found = read_frame(&mut stream).expect("it is answered");
        assert!(found == [&[5, 0, 0, 0, kind][..], part].concat());
    }
    let malformed = frame(&[&[0x80], &name, &[7, 0, 0, 0, 7]]);
    stream.write_all(&malformed).expect("it is read");
    let answer = read_frame(&mut stream).expect("it is answered");
    assert_eq!(
        answer,
        [&[7, 0, 0, 0, 0][..], b"Invalid serialize stream"].concat()
    );
}

#[test]
fn requests_that_break_the_protocol_end_their_connection_alone() {
    let (mut node, address) = listening();
    let mut good = connect(&address);
    let head =
        |session: u8, size: u32| frame(&[&[1, 5, 0, 0, 0, session, 0, 0, 0], &size.to_le_bytes()]);
    let hostile = [
        frame(&[]),
        frame(&[&[5]]),
        frame(&[&[0x40, 0, 0, 0, 0, 0, 0, 0, 0]]),
        frame(&[&[0xff]]),
        frame(&[&[0, 1, 2, 3]]),
        frame(&[&[0x80]]),
        frame(&[&[0x80, 0, 1, 0, 0, 0]]),
        frame(&[&[0x80, 200, b'x']]),
        frame(&[&[1, 5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]]),
        frame(&[&[2, 1, 0, 0]]),
        frame(&[&[3, 1, 0, 0, 0]]),
        head(1, u32::MAX),
        head(1, (64 << 20) + 1),
        [head(1, 64 << 20), head(2, 64 << 20), head(3, 1)].concat(),
        [head(1, 8), head(1, 8)].concat(),
        [head(1, 1), frame(&[&[3, 1, 0, 0, 0, 1, 2]])].concat(),
        [head(1, 2), frame(&[&[3, 1, 0, 0, 0, 1]])].concat(),
        [head(1, 9000), frame(&[&[2, 1, 0, 0, 0, 1]]).repeat(10)].concat(),
    ];
    for (number, bytes) in hostile.iter().enumerate() {
        let mut stream = connect(&address);
        stream.write_all(bytes).expect("it is taken");
        assert_eq!(read_frame(&mut stream), None, "{bytes:?}");
        node.logs("ends: it has sent ");
        let session = u8::try_from(number + 1).expect("there are few");
        let answer = who(&mut good, session).expect("it is answered");
        assert_eq!(answer, [session, 0, 0, 0, 1, 12, b'b']);
    }
    // Many small messages in parts count as long ones.
    let mut stream = connect(&address);
    for session in 0..=u8::MAX {
        for more in 0..16_u8 {
            let head = frame(&[&[1, 5, 0, 0, 0, session, more, 0, 0, 1, 0, 0, 0]]);
            stream.write_all(&head).expect("it is taken");
        }
    }
    assert_eq!(who(&mut stream, 1).map(|answer| answer[4]), Some(1));
    stream.write_all(&head(1, 1)).expect("it is taken");
    assert_eq!(read_frame(&mut stream), None);
    assert!(who(&mut good, 200).is_some());
}

#[test]
fn calls_of_one_connection_that_wait_for_a_service_are_bounded() {
    let (_node, address) = listening();
    let mut stream = connect(&address);
    let mut reader = stream.try_clone().expect("it can be shared");
    let reading = thread::spawn(move || read_frame(&mut reader).expect("it is answered"));
    let name = [&[0x80, 7][..], b"@server"].concat();
    for session in 1..=65_537_u32 {
        let call = frame(&[&name, &session.to_le_bytes(), &[36], b"wait"]);
        stream.write_all(&call).expect("it is taken");
    }
    let answer = reading.join().expect("it was read");
    let expected = b"too many calls wait for answers (>65536)";
    assert_eq!(answer, [&[1, 0, 1, 0, 0][..], expected].concat());
    assert!(who(&mut connect(&address), 1).is_some());
}
