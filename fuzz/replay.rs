// Part of the crates whose `invariants` the targets here look into: replays what is kept in `corpus/`.

use std::fs;
use std::path::Path;

/// Shows a target's function every input that is kept for it.
fn replay(target: &str, invariant: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let inputs = fs::read_dir(&folder).expect("every target has a folder of inputs");
    let mut count = 0;
    for input in inputs {
        let path = input.expect("the folder can be read").path();
        // A failure tells which input it was.
        println!("{}", path.display());
        invariant(&fs::read(&path).expect("the input can be read"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}
