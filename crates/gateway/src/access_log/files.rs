//! The files of access logs. Only the writing thread has them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use moorline_config::{AccessLog, AccessLogPath, Template, TemplatePart};
use moorline_process::log::open_for_appending;
use moorline_proxy::{Facts, Text};

/// Files whose names have variables that are open at the same time. The one that was unused for longest gives way.
const MOST_OPEN: usize = 64;
/// Bytes that such files may keep together. More are written, whatever the buffer of their log.
const MOST_KEPT: usize = 16 << 20;
/// How often the failures of such files are told: clients may choose the names, and so the number of failures.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How soon a file that could not be opened or written is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Its owner writes, its group reads: the lines name clients.
const MODE: u32 = 0o640;

/// The address of a log, and the path of the file if not all lines of the log have the same.
type FileKey = (usize, Option<PathBuf>);

/// What a file no longer keeps.
#[derive(Debug, Default)]
struct Flushed {
    bytes: usize,
    /// Lines of it that could not be written.
    lost: u64,
}

/// The files of all access logs.
#[derive(Debug, Default)]
pub(super) struct LogFiles {
    /// By the address of their log, which lives as long as they do.
    open: HashMap<FileKey, LogFile>,
    /// How often one was used so far.
    uses: u64,
    /// Bytes that files whose names have variables keep.
    kept: usize,
    /// When the failure of such a file was told last.
    told_at: Option<Instant>,
    /// Lines that were lost since this was last asked.
    pub(super) lost: u64,
}

/// One destination of one log, open or not.
#[derive(Debug)]
struct LogFile {
    log: Arc<AccessLog>,
    place: LogPlace,
    buffer: Vec<u8>,
    lines: u64,
    /// When what is buffered must be written.
    flush_at: Option<Instant>,
    last_use: u64,
    /// Nothing can be written now; tried again at this time.
    failed: Option<Instant>,
    /// Lines that were lost since it cannot be written.
    lost: u64,
}

#[derive(Debug)]
enum LogPlace {
    Stdout,
    Stderr,
    File {
        path: PathBuf,
        file: Option<File>,
        /// The name has variables: there may be any number of such files.
        is_filled: bool,
    },
}

impl LogFiles {
    /// Takes a line. It is written with the next [`flush_due`](Self::flush_due), unless its log has a buffer.
    pub(super) fn put(&mut self, log: &Arc<AccessLog>, path: Option<PathBuf>, line: &[u8]) {
        self.uses += 1;
        let key = (Arc::as_ptr(log) as usize, path);
        if !self.open.contains_key(&key) {
            if key.1.is_some() {
                self.make_room();
            }
            self.open
                .insert(key.clone(), LogFile::new(log, key.1.as_deref()));
        }
        let Some(file) = self.open.get_mut(&key) else {
            return;
        };
        file.last_use = self.uses;
        if file.is_full_with(line.len()) {
            let flushed = file.flush(&mut self.told_at);
            self.count(&flushed, key.1.is_some());
        }
        let Some(file) = self.open.get_mut(&key) else {
            return;
        };
        file.keep(line);
        if key.1.is_some() {
            self.kept += line.len();
            if self.kept > MOST_KEPT {
                self.flush_if(|(_, path), _| path.is_some());
            }
        }
    }

    /// Writes what must be written by now.
    pub(super) fn flush_due(&mut self, now: Instant) {
        self.flush_if(|_, file| file.is_due(now));
    }

    /// When something must be written next.
    pub(super) fn next_flush(&self) -> Option<Instant> {
        let waiting = self.open.values().filter(|file| file.lines > 0);
        waiting.filter_map(|file| file.flush_at).min()
    }

    /// Writes everything, and closes all files. Those of these logs whose names are known are opened again.
    pub(super) fn reopen(&mut self, present: &[Arc<AccessLog>]) {
        self.flush_all();
        self.open.clear();
        for log in present {
            if let AccessLogPath::File(path) = &log.path
                && path.constant().is_some()
            {
                let mut file = LogFile::new(log, None);
                if let Err(error) = file.open() {
                    file.note_failure(&error, &mut self.told_at);
                }
                self.open.insert((Arc::as_ptr(log) as usize, None), file);
            }
        }
    }

    /// Writes everything.
    pub(super) fn flush_all(&mut self) {
        self.flush_if(|_, _| true);
    }

    fn flush_if(&mut self, is_wanted: impl Fn(&FileKey, &LogFile) -> bool) {
        let mut all = Flushed::default();
        for (key, file) in &mut self.open {
            if is_wanted(key, file) {
                let flushed = file.flush(&mut self.told_at);
                all.lost += flushed.lost;
                all.bytes += if key.1.is_some() { flushed.bytes } else { 0 };
            }
        }
        self.count(&all, true);
    }

    fn count(&mut self, flushed: &Flushed, has_variables: bool) {
        self.lost += flushed.lost;
        if has_variables {
            self.kept -= flushed.bytes;
        }
    }

    fn make_room(&mut self) {
        let named = || self.open.iter().filter(|((_, path), _)| path.is_some());
        if named().count() < MOST_OPEN {
            return;
        }
        let oldest = named().min_by_key(|(_, file)| file.last_use);
        if let Some(key) = oldest.map(|(key, _)| key.clone())
            && let Some(mut file) = self.open.remove(&key)
        {
            let flushed = file.flush(&mut self.told_at);
            self.count(&flushed, true);
        }
    }
}

impl LogFile {
    fn new(log: &Arc<AccessLog>, filled: Option<&Path>) -> Self {
        let place = match &log.path {
            AccessLogPath::Stdout => LogPlace::Stdout,
            AccessLogPath::Stderr => LogPlace::Stderr,
            AccessLogPath::File(path) => LogPlace::File {
                path: match filled {
                    Some(path) => path.to_owned(),
                    None => path.constant().unwrap_or_default().into(),
                },
                file: None,
                is_filled: filled.is_some(),
            },
        };
        Self {
            log: log.clone(),
            place,
            buffer: Vec::new(),
            lines: 0,
            flush_at: None,
            last_use: 0,
            failed: None,
            lost: 0,
        }
    }

    /// Whether this number of bytes more does not fit.
    fn is_full_with(&self, bytes: usize) -> bool {
        let most = self.log.buffer.unwrap_or(u64::MAX);
        self.lines > 0 && (self.buffer.len() + bytes) as u64 > most
    }

    fn keep(&mut self, line: &[u8]) {
        if self.lines == 0 {
            self.flush_at = self.log.flush.map(|time| Instant::now() + time);
        }
        self.buffer.extend_from_slice(line);
        self.lines += 1;
    }

    fn is_due(&self, now: Instant) -> bool {
        let is_late = self.flush_at.is_some_and(|at| at <= now);
        let is_full = self
            .log
            .buffer
            .is_none_or(|most| self.buffer.len() as u64 >= most);
        self.lines > 0 && (is_late || is_full)
    }

    /// Writes what is buffered.
    fn flush(&mut self, told_at: &mut Option<Instant>) -> Flushed {
        if self.lines == 0 {
            return Flushed::default();
        }
        let bytes = self.buffer.len();
        let lines = std::mem::take(&mut self.lines);
        let buffer = std::mem::take(&mut self.buffer);
        self.flush_at = None;
        let written = match self.failed {
            Some(again) if Instant::now() < again => None,
            _ => Some(self.write(&buffer)),
        };
        if buffer.capacity() <= self.log.buffer.unwrap_or(0) as usize {
            self.buffer = buffer;
            self.buffer.clear();
        }
        match written {
            Some(Ok(())) => {
                if self.failed.take().is_some() {
                    let lost = std::mem::take(&mut self.lost);
                    tracing::info!(access_log = %self.log.name, lost, "the access log is written again");
                }
                return Flushed { bytes, lost: 0 };
            }
            Some(Err(error)) => self.note_failure(&error, told_at),
            None => {}
        }
        self.lost += lines;
        Flushed { bytes, lost: lines }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let packed;
        let bytes = match self.log.gzip {
            None => lines,
            Some(level) => {
                packed = pack(lines, level)?;
                &packed
            }
        };
        self.open()?;
        match &mut self.place {
            LogPlace::Stdout => io::stdout()
                .write_all(bytes)
                .and_then(|()| io::stdout().flush()),
            LogPlace::Stderr => io::stderr().write_all(bytes),
            LogPlace::File {
                file: Some(file), ..
            } => append(file, bytes),
            LogPlace::File { .. } => Ok(()),
        }
    }

    fn open(&mut self) -> io::Result<()> {
        if let LogPlace::File {
            path,
            file: file @ None,
            ..
        } = &mut self.place
        {
            *file = Some(open_for_appending(path, MODE)?);
        }
        Ok(())
    }

    /// Told once, until it can be written again, and less often if there are many such files.
    fn note_failure(&mut self, error: &io::Error, told_at: &mut Option<Instant>) {
        let (path, is_filled) = match &self.place {
            LogPlace::Stdout => (Path::new("stdout"), false),
            LogPlace::Stderr => (Path::new("stderr"), false),
            LogPlace::File {
                path, is_filled, ..
            } => (path.as_path(), *is_filled),
        };
        let now = Instant::now();
        let is_told_enough =
            is_filled && told_at.is_some_and(|at| now.saturating_duration_since(at) < TELL_EVERY);
        if self.failed.is_none() && !is_told_enough {
            if is_filled {
                *told_at = Some(now);
            }
            tracing::error!(
                access_log = %self.log.name, path = %path.display(), %error,
                "the access log cannot be written: its lines are lost until it can"
            );
        }
        self.failed = Some(now + AGAIN);
    }
}

/// Appends all of these bytes or none, as far as the file lets: half a line would spoil the next one.
fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err(take_back(file, written, io::ErrorKind::WriteZero.into())),
            Ok(some) => written += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(take_back(file, written, error)),
        }
    }
    Ok(())
}

/// Takes the last bytes of a file away again, which were written before this error. Not if another process has appended
/// something since.
fn take_back(file: &mut File, written: usize, error: io::Error) -> io::Error {
    // Appending leaves the position behind what was written (write(2), O_APPEND).
    if written > 0
        && let (Ok(metadata), Ok(end)) = (file.metadata(), file.stream_position())
        && metadata.is_file()
        && metadata.len() == end
    {
        // It stays as it is if that fails, too.
        let _ = file.set_len(end.saturating_sub(written as u64));
    }
    error
}

/// A whole member of a gzip file: several of them in a row are one, too.
fn pack(lines: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(lines)?;
    encoder.finish()
}

/// The path of a connection's file, if not all have the same. What a client has chosen leads to no other folder.
pub(super) fn fill_path(template: &Template, facts: &dyn Facts) -> Option<PathBuf> {
    if template.constant().is_some() {
        return None;
    }
    let mut path = Vec::new();
    for part in template.parts() {
        match part {
            TemplatePart::Text(text) => path.extend_from_slice(text.as_bytes()),
            part => {
                let mut value = Text::default();
                value.fill_part(part, facts);
                path.extend(part_of_name(value.as_bytes()));
            }
        }
    }
    Some(OsString::from_vec(path).into())
}

/// The longest name of a file has 255 bytes on most systems, and a client may have chosen the value.
const LONGEST_PART: usize = 200;

/// A value as a part of a file's name.
fn part_of_name(value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(LONGEST_PART)];
    let is_of_dots = value.iter().all(|byte| *byte == b'.');
    match value {
        b"" => b"-".to_vec(),
        _ if is_of_dots => vec![b'_'; value.len()],
        _ => {
            let fit = |byte: &u8| match byte {
                b'/' | ..=0x1f | 0x7f => b'_',
                byte => *byte,
            };
            value.iter().map(fit).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;

    use super::*;

    fn log(folder: &Path, path: &str, rest: &str) -> Arc<AccessLog> {
        let text = format!(
            "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n[access_log.one]\npath = \"{path}\"\nformat = \"x\"\n{rest}\n"
        );
        let loaded = moorline_config::load_text(&text, &folder.join("a.toml"));
        let mut config = loaded.unwrap_or_else(|error| panic!("{error}")).config;
        Arc::new(config.access_logs.remove(0))
    }

    fn read(folder: &Path, name: &str) -> String {
        std::fs::read_to_string(folder.join(name)).unwrap_or_default()
    }

    #[test]
    fn lines_wait_for_a_full_buffer_or_for_their_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log(folder.path(), "a.log", "buffer = \"16B\"\nflush = \"1h\"");
        let mut files = LogFiles::default();
        files.put(&log, None, b"one\n");
        files.flush_due(Instant::now());
        assert_eq!(read(folder.path(), "a.log"), "");
        assert!(files.next_flush().is_some());
        files.put(&log, None, b"a longer line\n");
        assert_eq!(read(folder.path(), "a.log"), "one\n");
        files.flush_due(Instant::now() + Duration::from_secs(3601));
        assert_eq!(read(folder.path(), "a.log"), "one\na longer line\n");
        files.put(&log, None, b"two\n");
        files.reopen(&[]);
        assert_eq!(read(folder.path(), "a.log"), "one\na longer line\ntwo\n");
        assert_eq!(files.lost, 0);
    }

    #[test]
    fn a_compressed_log_is_one_file_over_several_openings() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log(folder.path(), "a.gz", "gzip = 6");
        let mut files = LogFiles::default();
        for line in ["one\n", "two\n"] {
            files.put(&log, None, line.as_bytes());
            files.reopen(&[]);
        }
        let file = File::open(folder.path().join("a.gz")).expect("it is there");
        let mut text = String::new();
        MultiGzDecoder::new(file)
            .read_to_string(&mut text)
            .expect("it is whole");
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn few_files_with_variable_names_are_open_and_none_loses_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log(folder.path(), "${listener}.log", "buffer = \"1KiB\"");
        let mut files = LogFiles::default();
        let name = |at: usize| format!("{at}.log");
        for round in ["one\n", "two\n"] {
            for at in 0..3 * MOST_OPEN {
                let path = folder.path().join(name(at));
                files.put(&log, Some(path), round.as_bytes());
                assert!(files.open.len() <= MOST_OPEN);
            }
        }
        files.flush_all();
        for at in 0..3 * MOST_OPEN {
            assert_eq!(read(folder.path(), &name(at)), "one\ntwo\n", "{at}");
        }
    }

    #[test]
    fn lines_for_a_file_that_cannot_be_written_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log(folder.path(), "missing/a.log", "");
        let mut files = LogFiles::default();
        for _ in 0..3 {
            files.put(&log, None, b"x\n");
            files.flush_due(Instant::now());
        }
        assert_eq!(files.lost, 3);
        let full = self::log(folder.path(), "/dev/full", "");
        files.put(&full, None, b"x\n");
        files.flush_due(Instant::now());
        assert_eq!(files.lost, 4);
    }

    #[test]
    fn files_with_variable_names_keep_little_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log(folder.path(), "${listener}.log", "buffer = \"16MiB\"");
        let mut files = LogFiles::default();
        let line = vec![b'x'; 1 << 20];
        for at in 0..40 {
            files.put(&log, Some(folder.path().join(at.to_string())), &line);
            let kept: usize = files.open.values().map(|file| file.buffer.len()).sum();
            assert!(kept <= MOST_KEPT);
            assert_eq!(kept, files.kept);
        }
        files.flush_all();
        assert_eq!((files.kept, files.lost), (0, 0));
    }

    #[test]
    fn failures_of_files_with_variable_names_are_not_all_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log(folder.path(), "missing/${listener}.log", "");
        let mut files = LogFiles::default();
        let mut told = Vec::new();
        for at in 0..200 {
            let path = folder.path().join("missing").join(at.to_string());
            files.put(&log, Some(path), b"x\n");
            files.flush_due(Instant::now());
            told.push(files.told_at);
        }
        told.dedup();
        assert_eq!(files.lost, 200);
        assert!(told.len() < 5, "{}", told.len());
    }

    #[test]
    fn what_another_process_has_appended_is_not_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let mut file = open_for_appending(&path, MODE).expect("it is opened");
        let mut other = open_for_appending(&path, MODE).expect("it is opened");
        let failure = || io::Error::from(io::ErrorKind::StorageFull);
        file.write_all(b"half").expect("it is written");
        take_back(&mut file, 4, failure());
        assert_eq!(read(folder.path(), "a.log"), "");
        file.write_all(b"half").expect("it is written");
        other.write_all(b"whole\n").expect("it is written");
        take_back(&mut file, 4, failure());
        assert_eq!(read(folder.path(), "a.log"), "halfwhole\n");
    }

    #[test]
    fn no_value_leads_to_another_folder() {
        for (value, part) in [
            ("", "-"),
            ("..", "__"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("a.example", "a.example"),
            ("a\0b\n", "a_b_"),
        ] {
            assert_eq!(part_of_name(value.as_bytes()), part.as_bytes(), "{value}");
        }
    }
}
