//! What holds for any bytes.

use super::{FirstBytes, read};

/// Any bytes: they are read the same however many of them have come, and what follows a whole hello changes nothing.
pub fn hello(data: &[u8]) {
    let whole = read(data);
    let mut more = data.to_vec();
    more.extend_from_slice(&[22, 3, 1, 0, 4, 1, 0, 0, 0]);
    match &whole {
        FirstBytes::Hello(hello) => {
            assert!(hello.sni.bytes().all(|byte| byte.is_ascii_graphic()));
            assert_eq!(read(&more), whole);
        }
        FirstBytes::Other => assert_eq!(read(&more), whole),
        FirstBytes::Unfinished(least) => assert!(*least > data.len(), "{least}"),
    }
    let mut needed = 0;
    for shorter in 0..data.len() {
        match read(&data[..shorter]) {
            // It never needs less than was known before, and never more than it has in the end.
            FirstBytes::Unfinished(least) => {
                assert!(least > shorter && least >= needed, "{shorter}: {least}");
                needed = least;
            }
            decided => assert_eq!(decided, whole, "{shorter}"),
        }
    }
    if let FirstBytes::Hello(_) = whole {
        assert!(needed <= data.len(), "{needed}");
    }
}
