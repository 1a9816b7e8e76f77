//! Hellos as clients send them, and as they do not.

use proptest::prelude::*;

use super::*;

include!("../../../../fuzz/replay.rs");

#[test]
fn kept_inputs_are_read_the_same_however_they_come() {
    replay("client_hello", invariants::hello);
}

/// A field behind its length in this number of bytes.
fn field(width: usize, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&length[4 - width..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &field(2, content)].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    let entry = [&[HOST_NAME][..], &field(2, name)].concat();
    extension(SERVER_NAME, &field(2, &entry))
}

fn alpn(names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names
        .iter()
        .flat_map(|it| field(1, it.as_bytes()))
        .collect();
    extension(PROTOCOLS, &field(2, &names))
}

fn versions(list: &[u8]) -> Vec<u8> {
    extension(SUPPORTED_VERSIONS, &field(1, list))
}

/// The suites that it offers.
const SUITES: [u16; 2] = [0x1301, 0xc02f];

/// A message of the handshake.
fn message(version: [u8; 2], extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &version[..],
        &[7; 32],
        &field(1, &[9; 32]),
        &field(2, &[0x13, 1, 0xc0, 0x2f]),
        &field(1, &[0]),
        &field(2, &extensions.concat()),
    ];
    [&[CLIENT_HELLO][..], &field(3, &body.concat())].concat()
}

/// A message in records of at most this many bytes.
fn records(message: &[u8], most: usize) -> Vec<u8> {
    let parts = message.chunks(most);
    parts
        .flat_map(|part| [&[HANDSHAKE, 3, 1][..], &field(2, part)].concat())
        .collect()
}

fn hello(sni: &str, alpn: &str, version: &'static str) -> FirstBytes {
    FirstBytes::Hello(ClientHello {
        sni: sni.into(),
        alpn: alpn.into(),
        version,
        offer: Offer {
            suites: SUITES.into(),
            groups: [].into(),
        },
    })
}

#[test]
fn a_hello_tells_its_host_its_protocols_and_its_newest_version() {
    let grease = [0x8a, 0x8a, 3, 4, 3, 3];
    for (version, extensions, expected) in [
        ([3, 3], vec![], hello("", "", "TLSv1.2")),
        ([3, 1], vec![sni(b"a.test")], hello("a.test", "", "TLSv1")),
        (
            [3, 3],
            vec![
                extension(0x1a1a, &[0]),
                versions(&grease),
                alpn(&["h2", "http/1.1"]),
                sni(b"A.test"),
            ],
            hello("A.test", "h2,http/1.1", "TLSv1.3"),
        ),
        ([3, 3], vec![alpn(&["\n"])], hello("", "\\n", "TLSv1.2")),
        ([3, 3], vec![sni(b"a b")], hello("", "", "TLSv1.2")),
        ([3, 3], vec![sni(&[b'a'; 256])], hello("", "", "TLSv1.2")),
        ([9, 9], vec![], hello("", "", "")),
    ] {
        let message = message(version, &extensions);
        for most in [1, 7, 100, 16_384] {
            let bytes = records(&message, most);
            assert_eq!(read(&bytes), expected, "{most}");
            invariants::hello(&bytes);
        }
    }
}

#[test]
fn a_hello_of_ssl_2_tells_its_version() {
    for (bytes, version) in [
        ([0x80, 46, 1, 3, 1], "TLSv1"),
        ([0x80, 46, 1, 0, 2], "SSLv2"),
    ] {
        // Its suites have three bytes, and no names here.
        let expected = FirstBytes::Hello(ClientHello {
            version,
            ..ClientHello::default()
        });
        assert_eq!(read(&bytes), expected);
        invariants::hello(&bytes);
    }
}

#[test]
fn other_bytes_are_no_hello_as_soon_as_they_differ() {
    for bytes in [
        &b"GET / HTTP/1.0\r\n"[..],
        &[0],
        &[HANDSHAKE, 2],
        // An alert, a message that is no hello, and records that go over into something else.
        &[21, 3, 3, 0, 2, 2, 40],
        &[HANDSHAKE, 3, 1, 0, 4, 2],
        &[HANDSHAKE, 3, 1, 0, 1, 1, 23],
        &[0x80, 46, 2],
        &[0xff, 0xff, 1, 9],
    ] {
        assert_eq!(read(bytes), FirstBytes::Other, "{bytes:x?}");
        invariants::hello(bytes);
    }
}

#[test]
fn a_field_that_is_longer_than_its_message_makes_it_no_hello() {
    let whole = message([3, 3], &[sni(b"a.test"), alpn(&["h2"])]);
    // The session's id, the cipher suites, all extensions, one of them, its list, and its only name.
    for at in [38, 71, 80, 84, 86, 89] {
        let mut broken = whole.clone();
        broken[at] = 0xff;
        let bytes = records(&broken, 1000);
        assert_eq!(read(&bytes), FirstBytes::Other, "{at}");
        invariants::hello(&bytes);
    }
}

#[test]
fn a_hello_that_claims_to_be_huge_says_so_with_its_header() {
    let bytes = [HANDSHAKE, 3, 1, 0x40, 0, CLIENT_HELLO, 0xff, 0xff, 0xff];
    let whole = 0xff_ffff + MESSAGE_HEADER;
    assert_eq!(
        read(&bytes),
        FirstBytes::Unfinished(whole + 2 * RECORD_HEADER)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_the_same_however_they_come(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        start in prop::sample::select(vec![&[][..], &[22, 3, 1], &[22, 3, 3, 0, 60, 1, 0, 0], &[0x80, 46, 1]]),
    ) {
        invariants::hello(&[start, &bytes].concat());
    }

    #[test]
    fn a_changed_byte_is_read_the_same_however_it_comes(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        most in 1usize..300,
    ) {
        let extensions = [sni(b"a.test"), versions(&[3, 4]), alpn(&["h2"])];
        let mut bytes = records(&message([3, 3], &extensions), most);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        invariants::hello(&bytes);
    }
}
