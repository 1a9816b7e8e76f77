use super::*;
use moorline_protocol::flight::RecordingHead;
use std::os::unix::fs::PermissionsExt;

fn recording(unix_ms: u64) -> Recording {
    Recording::new(RecordingHead {
        moorline: "1.0.0".to_owned(),
        engine: "test".to_owned(),
        reason: FlightReason::Crash,
        process: "worker 0".to_owned(),
        what: "worker 0 (pid 7) was killed by SIGKILL".to_owned(),
        when: "now".to_owned(),
        unix_ms,
        at_ns: 1,
        listeners: Vec::new(),
        threads: Vec::new(),
    })
}

fn names(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).unwrap();
    let names = found.map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn the_name_of_a_file_says_when_and_where_and_why_and_others_cannot_read_it() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("flight");
    let written = [(); 2].map(|()| write(&folder, &recording(951_782_399_007)).unwrap());
    assert_eq!(
        names(&folder),
        [
            "20000228T235959Z.007-worker-0-crash.flight",
            "20000228T235959Z.008-worker-0-crash.flight"
        ]
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&written[0]), mode(&folder)), (0o600, 0o700));
    let read = Recording::decode(File::open(&written[1]).unwrap()).unwrap();
    assert_eq!(read, recording(951_782_399_007));
}

#[test]
fn the_newest_recordings_are_kept_and_other_files_are_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    fs::write(folder.join("notes.txt"), "ours").unwrap();
    fs::write(folder.join("half.unfinished"), "half").unwrap();
    for ms in 0..KEPT as u64 + 7 {
        write(folder, &recording(ms)).unwrap();
    }
    let found = names(folder);
    assert_eq!(found.len(), KEPT + 1);
    assert_eq!(found[0], "19700101T000000Z.007-worker-0-crash.flight");
    assert_eq!(found[KEPT], "notes.txt");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_and_nothing_is_left() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("flight");
    fs::write(&folder, "a file").unwrap();
    assert!(write(&folder, &recording(1)).is_err());
    assert!(write(&parent.path().join("a/b"), &recording(1)).is_err());
}

#[test]
fn a_process_that_crashes_again_and_again_is_recorded_five_times_and_then_each_ten_minutes() {
    let mut recorder = FlightRecorder::new(Path::new("/nowhere")).unwrap();
    let begun = Instant::now();
    let mut count = |process: &str, from: u64, seconds: u64| {
        let mut may = |second| {
            let now = begun + Duration::from_secs(second);
            recorder.may_record(FlightReason::Crash, process, now)
        };
        (from..from + seconds).filter(|second| may(*second)).count()
    };
    assert_eq!(count("worker 0", 0, 300), 5);
    assert_eq!(count("worker 1", 0, 300), 5);
    assert_eq!(count("worker 0", 300, 3600), 6);
    // It was well for an hour.
    assert_eq!(count("worker 1", 4000, 10), 5);
}
