//! A DNS server, written by hand: another implementation, as the other side.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
/// The time to live of its answers, in seconds.
const TTL: u32 = 1;

/// It answers until the process ends.
#[derive(Debug, Clone)]
pub struct NameServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    addresses: HashMap<String, Vec<IpAddr>>,
    services: HashMap<String, Vec<Service>>,
    manner: Manner,
    /// Questions over UDP and over TCP, with their record types.
    asked: Vec<(Over, String, u16)>,
}

/// Priority, weight, port, name.
type Service = (u16, u16, u16, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

/// How it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// It says what it knows.
    #[default]
    Plain,
    /// It cannot answer.
    Failing,
    /// It never answers.
    Silent,
    /// Over UDP it says only that the answer is too long.
    Truncating,
}

impl NameServer {
    /// One that knows no name.
    pub fn new() -> Self {
        // Both have one port.
        let (udp, tcp) = (0..100)
            .find_map(|_| {
                let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
                let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
                Some((udp, tcp))
            })
            .expect("a port is free");
        Self::serving(udp, tcp)
    }

    /// One at this address.
    pub fn at(address: SocketAddr) -> Self {
        let udp = UdpSocket::bind(address).expect("the address is free");
        let tcp = TcpListener::bind(address).expect("the address is free");
        Self::serving(udp, tcp)
    }

    fn serving(udp: UdpSocket, tcp: TcpListener) -> Self {
        let address = udp.local_addr().expect("it is bound");
        let this = Self {
            address,
            state: Arc::default(),
        };
        let server = this.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = udp.recv_from(&mut buffer).expect("a question");
                if let Some(answer) = server.answer(Over::Udp, &buffer[..length]) {
                    udp.send_to(&answer, client).expect("it is sent");
                }
            }
        });
        let server = this.clone();
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        this
    }

    /// This name has these addresses from now on. None: it does not exist.
    pub fn set(&self, name: &str, addresses: &[&str]) {
        let parsed = addresses.iter().map(|it| it.parse().expect("an address"));
        let mut state = self.state.lock().expect("nobody panics");
        match addresses {
            [] => drop(state.addresses.remove(name)),
            _ => drop(state.addresses.insert(name.to_owned(), parsed.collect())),
        }
    }

    /// This service has these servers from now on: priority, weight, port and name of each.
    pub fn set_service(&self, name: &str, servers: &[(u16, u16, u16, &str)]) {
        let own = |(priority, weight, port, host): &(u16, u16, u16, &str)| {
            (*priority, *weight, *port, (*host).to_owned())
        };
        let servers = servers.iter().map(own).collect();
        let mut state = self.state.lock().expect("nobody panics");
        state.services.insert(name.to_owned(), servers);
    }

    /// It answers in this manner from now on.
    pub fn behave(&self, manner: Manner) {
        self.state.lock().expect("nobody panics").manner = manner;
    }

    /// How often it was asked so far.
    pub fn questions(&self) -> usize {
        self.state.lock().expect("nobody panics").asked.len()
    }

    /// How often it was asked for IPv6 addresses so far.
    pub fn questions_of_ipv6(&self) -> usize {
        let state = self.state.lock().expect("nobody panics");
        state.asked.iter().filter(|it| it.2 == AAAA).count()
    }

    /// How often it was asked over TCP so far.
    pub fn questions_over_tcp(&self) -> usize {
        let state = self.state.lock().expect("nobody panics");
        state.asked.iter().filter(|it| it.0 == Over::Tcp).count()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut question).is_err() {
                return;
            }
            let Some(answer) = self.answer(Over::Tcp, &question) else {
                return;
            };
            let whole = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
            if stream.write_all(&whole).is_err() {
                return;
            }
        }
    }

    fn answer(&self, over: Over, message: &[u8]) -> Option<Vec<u8>> {
        let (name, record, question) = question(message);
        let mut state = self.state.lock().expect("nobody panics");
        state.asked.push((over, name.clone(), record));
        let is_known = state.addresses.contains_key(&name) || state.services.contains_key(&name);
        let (mut code, mut records, mut cut) = (0, Vec::new(), 0);
        match state.manner {
            Manner::Silent => return None,
            Manner::Failing => code = SERVER_FAILURE,
            Manner::Truncating if over == Over::Udp => cut = 0x02,
            _ if !is_known => code = NO_SUCH_NAME,
            _ => records = state.records(&name, record),
        }
        let mut answer = message[..2].to_vec();
        // An answer with authority; recursion was wanted and is available.
        answer.extend([0x85 | cut, 0x80 | code]);
        for count in [1, records.len() as u16, 0, 0] {
            answer.extend(count.to_be_bytes());
        }
        answer.extend(question);
        for content in records {
            // The name is that of the question.
            answer.extend([0xc0, 12]);
            answer.extend(record.to_be_bytes());
            answer.extend(1_u16.to_be_bytes());
            answer.extend(TTL.to_be_bytes());
            answer.extend((content.len() as u16).to_be_bytes());
            answer.extend(content);
        }
        Some(answer)
    }
}

impl State {
    /// The contents of a name's records of this type.
    fn records(&self, name: &str, record: u16) -> Vec<Vec<u8>> {
        if record == SRV {
            let services = self.services.get(name).into_iter().flatten();
            return services.map(srv).collect();
        }
        let addresses = self.addresses.get(name).into_iter().flatten();
        let content = |ip: &IpAddr| match (ip, record) {
            (IpAddr::V4(ip), A) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), AAAA) => Some(ip.octets().to_vec()),
            _ => None,
        };
        addresses.filter_map(content).collect()
    }
}

fn srv((priority, weight, port, host): &Service) -> Vec<u8> {
    let mut content = Vec::new();
    for number in [priority, weight, port] {
        content.extend(number.to_be_bytes());
    }
    for label in host.split('.').filter(|label| !label.is_empty()) {
        content.push(label.len() as u8);
        content.extend(label.as_bytes());
    }
    content.push(0);
    content
}

/// The first question: its name, its type, and its bytes (RFC 1035 §4.1.2).
fn question(message: &[u8]) -> (String, u16, &[u8]) {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(message[at]);
        at += 1;
        if length == 0 {
            break;
        }
        let label = String::from_utf8_lossy(&message[at..at + length]);
        labels.push(label.to_lowercase());
        at += length;
    }
    let record = u16::from_be_bytes([message[at], message[at + 1]]);
    (labels.join("."), record, &message[12..at + 4])
}
