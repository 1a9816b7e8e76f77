//! Stops and starts servers when a script says so.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use moorline_tests::Outsider;

/// What a script has of it: `attend 'stop0'`, `attend 'back0'`, with the number of a server.
pub(crate) const ATTEND: &str = "
    local function attend(word)
        local socket = require 'skynet.socket'
        local id = assert(socket.open('127.0.0.1', attendant))
        socket.write(id, word)
        assert(socket.read(id, 4) == 'done')
        socket.close(id)
    end
    ";

/// Listens to scripts. The servers end with it.
pub(crate) struct Attendant {
    /// Where a script finds it.
    pub(crate) port: u16,
    _servers: Arc<Mutex<Vec<Outsider>>>,
}

impl Attendant {
    pub(crate) fn new(servers: Vec<Outsider>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let servers = Arc::new(Mutex::new(servers));
        // The thread never ends, and must not keep them.
        let theirs = Arc::downgrade(&servers);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a script connects");
                let mut word = [0; 5];
                stream.read_exact(&mut word).expect("it says what to do");
                let Some(servers) = theirs.upgrade() else {
                    return;
                };
                let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
                let server = &mut servers[usize::from(word[4] - b'0')];
                match &word[..4] {
                    b"stop" => server.stop(),
                    _ => server.restart(),
                }
                stream.write_all(b"done").expect("it waits");
            }
        });
        Self {
            port,
            _servers: servers,
        }
    }
}
