//! What TLS clients send first.

/// The hello of a client that asks for this host, in records of at most this many bytes.
pub fn client_hello(host: &str, most: usize) -> Vec<u8> {
    let name = host.as_bytes();
    let length = |more: usize| ((name.len() + more) as u16).to_be_bytes();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0, 0, 2, 0x13, 1, 1, 0],
        &length(9),
        &[0, 0],
        &length(5),
        &length(3),
        &[0],
        &length(0),
        name,
    ]
    .concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    let records = message.chunks(most);
    records
        .flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat())
        .collect()
}
