use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Barrier;
use std::thread;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};

use super::*;

fn address(text: &str) -> Address {
    text.parse().expect("the tests write addresses right")
}

fn refusal(address: &Address) -> String {
    listen(address).expect_err("it is refused").to_string()
}

fn port(address: &Address) -> u16 {
    address.host_port().expect("it has a port").port
}

#[test]
fn every_kind_is_non_blocking_and_not_inherited() {
    let folder = tempfile::tempdir().unwrap();
    let unix = Address::Unix(folder.path().join("socket"));
    let ports = [
        "tcp://127.0.0.1:0",
        "udp://127.0.0.1:0",
        "http://localhost:0",
    ];
    for address in ports.into_iter().map(address).chain([unix]) {
        let socket = listen(&address).unwrap();
        assert!(
            fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK),
            "{address}"
        );
        assert!(
            fcntl_getfd(&socket).unwrap().contains(FdFlags::CLOEXEC),
            "{address}"
        );
    }
}

#[test]
fn port_zero_becomes_the_port_that_answers() {
    let wanted = address("tcp://localhost:0");
    let socket = listen(&wanted).unwrap();
    let bound = local_address(&socket, &wanted);
    assert_eq!(bound, address(&format!("tcp://localhost:{}", port(&bound))));
    TcpStream::connect(("127.0.0.1", port(&bound))).unwrap();
}

#[test]
fn accepted_sockets_send_at_once() {
    let wanted = address("tcp://127.0.0.1:0");
    let listener = TcpListener::from(listen(&wanted).unwrap());
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // The handshake is over: the connection waits in the backlog.
    let (accepted, _) = listener.accept().unwrap();
    assert!(accepted.nodelay().unwrap());
}

#[test]
fn datagrams_arrive() {
    let wanted = address("udp://127.0.0.1:0");
    let socket = UdpSocket::from(listen(&wanted).unwrap());
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender
        .send_to(b"ahoy", socket.local_addr().unwrap())
        .unwrap();
    socket.set_nonblocking(false).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(socket.recv(&mut buffer).unwrap(), 4);
}

#[test]
fn of_many_that_replace_one_stale_socket_a_single_one_succeeds() {
    const CONTENDERS: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("contended.sock");
    let address = address(&format!("unix://{}", path.display()));
    for round in 0..200 {
        // What a dead process leaves: the file of a socket that is closed.
        drop(UnixListener::bind(&path).unwrap());
        let start = Barrier::new(CONTENDERS);
        let won: Vec<OwnedFd> = thread::scope(|scope| {
            let contend = || {
                start.wait();
                listen(&address).ok()
            };
            let contenders = [(); CONTENDERS].map(|()| scope.spawn(contend));
            let ended = contenders.into_iter().map(|thread| thread.join().unwrap());
            ended.flatten().collect()
        });
        assert_eq!(won.len(), 1, "round {round}");
        UnixStream::connect(&path).expect("the file is the winner's");
        drop(won);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_folder_that_is_locked_for_ever_keeps_no_socket_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("late.sock");
    let _forever = FolderLock::around(&path);
    let _listener = listen(&address(&format!("unix://{}", path.display()))).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_taken_port_is_named_with_the_way_to_its_holder() {
    for scheme in ["tcp", "udp"] {
        let wanted = address(&format!("{scheme}://127.0.0.1:0"));
        let holder = listen(&wanted).unwrap();
        let taken = local_address(&holder, &wanted);
        let refusal = refusal(&taken);
        assert!(
            refusal.starts_with(&format!("cannot listen on {taken}: ")),
            "{refusal}"
        );
        assert!(
            refusal.contains(&format!("`ss -lnptu 'sport = :{}'`", port(&taken))),
            "{refusal}"
        );
    }
}

#[test]
fn a_port_can_be_bound_again_at_once_after_its_connections_ended() {
    let wanted = address("tcp://127.0.0.1:0");
    let listener = TcpListener::from(listen(&wanted).unwrap());
    let bound = local_address(&listener, &wanted);
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // The side that closes first keeps the port in TIME_WAIT.
    drop(listener.accept().unwrap());
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    drop((client, listener));
    listen(&bound).unwrap();
}

#[test]
fn an_address_of_another_machine_is_explained() {
    // RFC 5737: for documentation, so no machine has it.
    let refusal = refusal(&address("tcp://192.0.2.1:0"));
    assert!(
        refusal.contains("no interface of this machine has it"),
        "{refusal}"
    );
}

#[test]
fn a_name_without_an_address_is_explained() {
    // A label has at most 63 bytes (RFC 1035 §2.3.4), so no server is asked.
    let wanted = address(&format!("tcp://{}:1", "x".repeat(64)));
    let refusal = refusal(&wanted);
    let problem = format!("cannot resolve the host of {wanted}: ");
    assert!(refusal.starts_with(&problem), "{refusal}");
    assert!(
        refusal.ends_with("; check the name, or write an IP address"),
        "{refusal}"
    );
}

#[test]
fn every_user_that_reaches_the_folder_may_connect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::from(listen(&Address::Unix(path.clone())).unwrap());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o666
    );
    UnixStream::connect(&path)
        .unwrap()
        .write_all(b"ahoy")
        .unwrap();
    listener.accept().unwrap();
}

#[test]
fn an_abstract_socket_and_one_for_datagrams_are_bound() {
    let name = format!("moorline-net-{}", std::process::id());
    let listener = UnixListener::from(listen(&address(&format!("unix://@{name}"))).unwrap());
    let reached = SockAddr::unix(format!("\0{name}")).unwrap();
    let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    client.connect(&reached).unwrap();
    listener.accept().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("datagrams");
    let socket = UnixDatagram::from(listen(&Address::Unixgram(path.clone())).unwrap());
    UnixDatagram::unbound()
        .unwrap()
        .send_to(b"ahoy", &path)
        .unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 4);
}

#[test]
fn a_dead_process_s_socket_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    let _listener = listen(&Address::Unix(path.clone())).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_socket_file_that_is_answered_on_stays() {
    let folder = tempfile::tempdir().unwrap();
    let stream = folder.path().join("stream");
    let datagram = folder.path().join("datagram");
    let holder = UnixListener::bind(&stream).unwrap();
    let _datagram_holder = UnixDatagram::bind(&datagram).unwrap();
    for path in [stream.clone(), datagram] {
        let refusal = refusal(&Address::Unix(path));
        assert!(
            refusal.contains("another process answers there"),
            "{refusal}"
        );
    }
    UnixStream::connect(&stream).unwrap();
    holder.accept().unwrap();
}

#[test]
fn a_file_that_is_no_socket_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let link = folder.path().join("link");
    symlink(&file, &link).unwrap();
    for path in [&file, &link] {
        let refusal = refusal(&Address::Unix(path.clone()));
        assert!(
            refusal.contains("a file that is no socket is there"),
            "{refusal}"
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_folder_that_is_missing_and_a_path_too_long_are_explained() {
    let missing = refusal(&Address::Unix("/nonexistent/socket".into()));
    assert!(missing.ends_with("; make the folder first"), "{missing}");
    let long = refusal(&Address::Unix(format!("/{}", "x".repeat(107)).into()));
    assert!(
        long.ends_with("the path is too long; shorten the path to 107 bytes"),
        "{long}"
    );
}
