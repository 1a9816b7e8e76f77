//! A small DNS server over UDP, written by hand: another implementation, as the other side.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
pub(crate) const AAAA: u16 = 28;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// It answers until the process ends. Questions for names that begin with `silent` are dropped, and those for IPv6
/// addresses of names that begin with `lame`.
pub(crate) struct NameServer {
    #[allow(dead_code, reason = "not every test that includes this file asks")]
    pub(crate) address: SocketAddr,
    /// The names that were asked for, as they came, with their record types.
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl NameServer {
    pub(crate) fn start(address: &str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let (count, client) = socket.recv_from(&mut buffer).unwrap();
                let (name, record, question) = question(&buffer[..count]);
                seen.lock().unwrap().push((name.to_lowercase(), record));
                if let Some(answer) = answer(&buffer[..2], &name, record, question) {
                    socket.send_to(&answer, client).unwrap();
                }
            }
        });
        Self { address, asked }
    }

    /// How many questions for this kind of record there were, whatever the name.
    #[allow(dead_code, reason = "not every test that includes this file asks")]
    pub(crate) fn count_of(&self, record: u16) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(_, kind)| *kind == record).count()
    }

    /// How many questions there were whose name begins so.
    #[allow(dead_code, reason = "not every test that includes this file asks")]
    pub(crate) fn count(&self, beginning: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(name, _)| name.starts_with(beginning))
            .count()
    }
}

/// The first question: its name, its type, and its bytes (RFC 1035 §4.1.2).
fn question(message: &[u8]) -> (String, u16, &[u8]) {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(message[at]);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(&message[at..at + length]).into_owned());
        at += length;
    }
    let record = u16::from_be_bytes([message[at], message[at + 1]]);
    (labels.join("."), record, &message[12..at + 4])
}

fn answer(id: &[u8], name: &str, record: u16, question: &[u8]) -> Option<Vec<u8>> {
    let name = name.to_lowercase();
    let v4 = |last| (A, Ipv4Addr::new(192, 0, 2, last).octets().to_vec());
    let v6 = |last| {
        let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        (AAAA, ip.octets().to_vec())
    };
    let mut code = 0;
    // Type, TTL and content.
    let mut records = Vec::new();
    let mut add = |ttl: u32, (kind, content): (u16, Vec<u8>)| {
        if kind == record {
            records.push((kind, ttl, content));
        }
    };
    match name.as_str() {
        name if name.starts_with("silent") => return None,
        name if name.starts_with("lame") && record == AAAA => return None,
        name if name.starts_with("fails") => code = SERVER_FAILURE,
        name if name.starts_with("gone") => code = NO_SUCH_NAME,
        "both.test" => {
            add(77, v4(1));
            add(77, v4(2));
            add(33, v6(1));
        }
        "dual.test" => {
            add(60, v4(9));
            add(60, v6(9));
        }
        "four.test" => add(60, v4(4)),
        "alias.test" => {
            // It points to `four.test`, which comes with it.
            records.push((CNAME, 5, b"\x04four\x04test\x00".to_vec()));
            if record == A {
                records.push((A, 60, v4(4).1));
            }
        }
        _ => add(60, v4(9)),
    }
    let is_negative = !records.iter().any(|(kind, ..)| *kind == record);
    let has_soa = is_negative && code != SERVER_FAILURE;

    let mut message = Vec::from(id);
    // An answer, recursion was wanted and is available.
    message.extend([0x81, 0x80 | code]);
    for count in [1, records.len() as u16, u16::from(has_soa), 0] {
        message.extend(count.to_be_bytes());
    }
    message.extend(question);
    let mut owner: Vec<u8> = vec![0xc0, 12];
    for (kind, ttl, content) in records {
        put(&mut message, &owner, kind, ttl, &content);
        if kind == CNAME {
            owner = content;
        }
    }
    if has_soa {
        // `test`: its server, its keeper, and five numbers, the last of which is the negative TTL (RFC 2308 §4).
        let mut content = b"\x02ns\x04test\x00\x04root\x04test\x00".to_vec();
        for number in [1u32, 3600, 600, 86400, 11] {
            content.extend(number.to_be_bytes());
        }
        put(&mut message, b"\x04test\x00", SOA, 900, &content);
    }
    Some(message)
}

fn put(message: &mut Vec<u8>, owner: &[u8], kind: u16, ttl: u32, content: &[u8]) {
    message.extend(owner);
    message.extend(kind.to_be_bytes());
    message.extend(1u16.to_be_bytes());
    message.extend(ttl.to_be_bytes());
    message.extend((content.len() as u16).to_be_bytes());
    message.extend(content);
}
