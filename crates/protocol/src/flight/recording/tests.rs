use super::*;
use crate::flight::{FlightKind, FlightLog, FlightText, now_ns};
use moorline_ipc::{FLIGHT_COUNTERS, Scoreboard, create_scoreboard};

fn board() -> Scoreboard {
    let fd = create_scoreboard(FLIGHT_COUNTERS).unwrap();
    Scoreboard::map(fd, FLIGHT_COUNTERS).unwrap()
}

fn thread(process: &str) -> RecordedThread {
    RecordedThread {
        process: process.to_owned(),
        pid: 7,
        thread: None,
        first: 0,
        records: 0,
    }
}

fn head() -> RecordingHead {
    RecordingHead {
        moorline: "1.0.0".to_owned(),
        engine: "test".to_owned(),
        reason: FlightReason::Crash,
        process: "worker 0".to_owned(),
        when: "now".to_owned(),
        what: "worker 0 (pid 7) was killed by SIGKILL".to_owned(),
        unix_ms: 1,
        at_ns: now_ns() + 1_000_000_000,
        listeners: vec!["door".to_owned()],
        threads: Vec::new(),
    }
}

/// A recording of a gateway loop and a worker.
fn recording() -> Recording {
    let [gateway, worker] = [(); 2].map(|()| FlightLog::new(board()));
    gateway.note(FlightKind::Opened, 0, 17, 0);
    worker.note(FlightKind::Begins, 0, 17, 0);
    worker.note(FlightKind::Ends, 1, 17, 0);
    gateway.note(FlightKind::Closed, 1, 17, 3);
    let mut recording = Recording::new(head());
    recording.push(thread("gateway"), gateway.last(100));
    recording.push(thread("worker 0"), worker.last(100));
    recording
}

fn texts(recording: &Recording) -> Vec<String> {
    let entries = recording.timeline().into_iter();
    let listeners = &recording.head.listeners;
    let texts = entries.map(|entry| match &entry.event {
        Some(event) => format!("{}: {}", entry.thread, FlightText { event, listeners }),
        None => format!("{}: ?", entry.thread),
    });
    texts.collect()
}

#[test]
fn a_recording_comes_back_as_it_was_written_and_tells_what_happened_in_order() {
    let written = recording();
    let read = Recording::decode(&written.encode().unwrap()[..]).unwrap();
    assert_eq!(read, written);
    assert_eq!(
        texts(&read),
        [
            "0: session 0000000000000011 opened on door, for worker 0",
            "1: session 0000000000000011 begins",
            "1: session 0000000000000011 ends (peer)",
            "0: session 0000000000000011 closed (peer), 3 messages",
        ]
    );
}

#[test]
fn a_record_that_cannot_be_read_is_shown_as_such_at_its_place() {
    let mut recording = recording();
    recording.records[1][0][0] ^= 1 << 40;
    recording.records[0][1][1] = recording.head.at_ns + 1;
    assert_eq!(
        texts(&recording),
        [
            "0: session 0000000000000011 opened on door, for worker 0",
            "0: ?",
            "1: ?",
            "1: session 0000000000000011 ends (peer)",
        ]
    );
}

#[test]
fn a_recording_of_another_version_is_refused_by_name() {
    let mut bytes = recording().encode().unwrap();
    bytes[8] = 9;
    let error = Recording::decode(&bytes[..]).unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
    bytes[0] = 0;
    let error = Recording::decode(&bytes[..]).unwrap_err().to_string();
    assert_eq!(error, "is no recording of a flight recorder");
}

#[test]
fn a_recording_that_claims_more_than_there_can_be_is_refused_before_memory_is_taken() {
    for claimed in [FLIGHT_RECORDS, usize::MAX] {
        let mut recording = recording();
        recording.head.threads[0].records = claimed;
        let bytes = recording.encode().unwrap();
        let refused = Recording::decode(&bytes[..]);
        assert!(matches!(refused, Err(RecordingError::Broken(_))));
    }
    let mut many = Recording::new(head());
    let mut claims = thread("gateway");
    claims.records = FLIGHT_RECORDS - 1;
    many.head.threads = vec![claims; MOST_RECORDS / (FLIGHT_RECORDS - 1) + 1];
    let refused = Recording::decode(&many.encode().unwrap()[..]);
    assert!(matches!(refused, Err(RecordingError::Broken(_))));
    let mut start = recording().encode().unwrap();
    start[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let refused = Recording::decode(&start[..]);
    assert!(matches!(refused, Err(RecordingError::Broken(_))));
}

#[test]
fn a_recording_that_is_cut_off_anywhere_is_refused() {
    let bytes = recording().encode().unwrap();
    for length in 0..bytes.len() {
        assert!(Recording::decode(&bytes[..length]).is_err(), "{length}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(Recording::decode(&longer[..]).is_err());
}

#[test]
fn no_damage_makes_the_reader_panic() {
    let bytes = recording().encode().unwrap();
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut damaged = bytes.clone();
        for _ in 0..=random.usize(..4) {
            let at = random.usize(..damaged.len());
            damaged[at] = random.u8(..);
        }
        if let Ok(read) = Recording::decode(&damaged[..]) {
            assert_eq!(texts(&read).len(), 4, "{seed}");
        }
    }
}

#[test]
fn any_words_are_events_or_nothing() {
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let number = random.u64(..);
        let kind = random.u64(..80);
        let check = number.wrapping_add(1) << 32;
        let what = check | kind << 16 | random.u64(..=u64::from(u16::MAX));
        let record = [what, random.u64(..), random.u64(..), random.u64(..)];
        if let Some(event) = FlightEvent::read(&record, number) {
            let text = FlightText {
                event: &event,
                listeners: &[],
            };
            assert!(!text.to_string().is_empty(), "{seed}");
        }
    }
}
