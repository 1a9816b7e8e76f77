//! Certificates whose files connections name: read off the loops when the first connection needs them.

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use moorline_config::{ChosenCertificate, Template};
use moorline_net::tls::ReadyCertificate;
use moorline_proxy::{Facts, Text};
use rustc_hash::FxHashMap;

/// The most of one upstream. The one that was read first gives way.
const MOST_OF_UPSTREAM: usize = 256;
/// The most of all listeners.
const MOST_OF_LISTENERS: usize = 1024;
/// How long one counts before its files are read again, in milliseconds.
const VALID_MS: u64 = 10_000;
/// How long one is shown behind that while its files cannot be used, in milliseconds: a renewal takes less.
const KEPT_MS: u64 = 60_000;
/// How soon files that cannot be used are read again, in milliseconds.
const AFTER_FAILURE_MS: u64 = 1_000;

/// The files of a certificate and of its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The certificates of one upstream, or of all listeners.
#[derive(Debug)]
pub(crate) struct ChosenCertificates(Mutex<KnownCertificates>);

/// Reads the files of a certificate. It blocks on them.
pub(crate) type CertificateReader =
    Box<dyn Fn(&CertificateFiles) -> Result<ReadyCertificate, String> + Send>;

#[derive(Debug)]
struct KnownCertificates {
    /// The most that are kept.
    most: usize,
    read: FxHashMap<CertificateFiles, Reading>,
    /// The way to the thread that reads, which runs once it was needed.
    reader: Option<Sender<CertificateFiles>>,
}

/// Times are in milliseconds of the clock that all loops share.
#[derive(Debug, Default)]
struct Reading {
    /// The last one that could be used, and until when it may be shown.
    good: Option<(ReadyCertificate, u64)>,
    /// Why the last read has failed, if it has.
    problem: Option<String>,
    /// When the files are read again. `None`: they are being read.
    again: Option<u64>,
}

/// What is known of a certificate.
#[derive(Debug)]
pub(crate) enum KnownCertificate {
    /// It is being read.
    Awaited,
    Ready(ReadyCertificate),
    /// It cannot be used, for this reason.
    Unusable(String),
}

impl CertificateFiles {
    /// Those that a connection chooses; `None` if the name of the certificate's is empty.
    ///
    /// # Errors
    /// A client could lead to another folder by that.
    pub(crate) fn chosen(
        chosen: &ChosenCertificate,
        facts: &dyn Facts,
    ) -> Result<Option<Self>, String> {
        let certificate = filled(&chosen.certificate, &chosen.base, facts)?;
        let Some(certificate) = certificate else {
            return Ok(None);
        };
        let key = filled(&chosen.key, &chosen.base, facts)?;
        let key = key.ok_or("the name of its key is empty")?;
        Ok(Some(Self { certificate, key }))
    }
}

/// A path, or `None` if it is empty. What the configuration writes, in maps too, may lead anywhere; what a client chooses is the name
/// of a file or of a folder, or a part of one.
fn filled(template: &Template, base: &Path, facts: &dyn Facts) -> Result<Option<PathBuf>, String> {
    let mut text = Text::default();
    let chosen = text.fill_noting(template, facts);
    let path = text.into_bytes();
    if is_led_astray(&path, &chosen) {
        let path = String::from_utf8_lossy(&path);
        return Err(format!(
            "what the client chose in its name, {path:?}, leads to another folder"
        ));
    }
    let path = Some(path).filter(|path| !path.is_empty());
    Ok(path.map(|path| base.join(OsString::from_vec(path))))
}

/// Whether these parts of a path lead to another folder than the rest of it says.
fn is_led_astray(path: &[u8], chosen: &[Range<usize>]) -> bool {
    let is_strange = |part: &Range<usize>| {
        let value = &path[part.clone()];
        value.contains(&b'/') || value == b".."
    };
    // An empty part makes the path absolute, too.
    let makes_absolute = path.first() == Some(&b'/') && chosen.iter().any(|part| part.start == 0);
    if path.contains(&0) || makes_absolute || chosen.iter().any(is_strange) {
        return true;
    }
    let mut begin = 0;
    path.split(|byte| *byte == b'/').any(|name| {
        let end = begin + name.len();
        let touches = |part: &Range<usize>| part.start <= end && part.end >= begin;
        let is_chosen = chosen.iter().any(touches);
        begin = end + 1;
        is_chosen && matches!(name, b"." | b"..")
    })
}

impl ChosenCertificates {
    fn new(most: usize) -> Self {
        Self(Mutex::new(KnownCertificates {
            most,
            read: FxHashMap::default(),
            reader: None,
        }))
    }

    /// Those of an upstream.
    pub(crate) fn of_upstream() -> Self {
        Self::new(MOST_OF_UPSTREAM)
    }

    /// Those of all listeners.
    pub(crate) fn of_listeners() -> Self {
        Self::new(MOST_OF_LISTENERS)
    }

    /// The certificate in these files. They are read if they were not for a while; then the caller asks again soon.
    pub(crate) fn get(
        self: &Arc<Self>,
        files: &CertificateFiles,
        read: impl FnOnce() -> CertificateReader,
        now: u64,
    ) -> KnownCertificate {
        let mut known = self.locked();
        if let Some(reading) = known.read.get(files)
            && reading.again.is_none_or(|again| now < again)
        {
            return reading.known(now);
        }
        if !known.read.contains_key(files) && !known.make_room() {
            return KnownCertificate::Unusable("too many certificates are being read".into());
        }
        if known.reader.is_none() {
            known.reader = match self.start(read()) {
                Ok(reader) => Some(reader),
                Err(error) => return KnownCertificate::Unusable(format!("no thread: {error}")),
            };
        }
        let sent = known.reader.as_ref().map(|it| it.send(files.clone()));
        if !matches!(sent, Some(Ok(()))) {
            return KnownCertificate::Unusable("it is not read any more".into());
        }
        let reading = known.read.entry(files.clone()).or_default();
        reading.again = None;
        reading.known(now)
    }

    fn start(
        self: &Arc<Self>,
        read: CertificateReader,
    ) -> std::io::Result<Sender<CertificateFiles>> {
        let (sender, wanted) = channel();
        let of = Arc::downgrade(self);
        let thread = thread::Builder::new().name("certificates".to_owned());
        thread.spawn(move || read_all(&of, &read, &wanted))?;
        Ok(sender)
    }

    fn locked(&self) -> MutexGuard<'_, KnownCertificates> {
        // A panic ends the process, so no lock is poisoned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownCertificates {
    /// Makes room for one more. False: all are being read.
    fn make_room(&mut self) -> bool {
        if self.read.len() < self.most {
            return true;
        }
        let over = self
            .read
            .iter()
            .filter_map(|(files, it)| Some((it.again?, files)));
        let oldest = over.min_by_key(|(again, _)| *again);
        let oldest = oldest.map(|(_, files)| files.clone());
        oldest.is_some_and(|files| self.read.remove(&files).is_some())
    }
}

impl Reading {
    fn known(&self, now: u64) -> KnownCertificate {
        match (&self.good, &self.problem) {
            // Nobody waits for one that is read again.
            (Some((ready, until)), _) if now < *until => KnownCertificate::Ready(ready.clone()),
            (_, Some(why)) if self.again.is_some() => KnownCertificate::Unusable(why.clone()),
            _ => KnownCertificate::Awaited,
        }
    }

    fn is_over(&mut self, result: Result<ReadyCertificate, String>, now: u64) {
        match result {
            Ok(ready) => {
                self.good = Some((ready, now + VALID_MS + KEPT_MS));
                self.problem = None;
                self.again = Some(now + VALID_MS);
            }
            Err(error) => {
                if self.good.is_some() && self.problem.is_none() {
                    tracing::warn!(
                        %error,
                        "a certificate cannot be read again: the earlier one is shown for a minute at most"
                    );
                }
                self.problem = Some(error);
                self.again = Some(now + AFTER_FAILURE_MS);
            }
        }
    }
}

/// Reads what is wanted, until nobody can want anything. The queue is as long as the table at most.
fn read_all(
    of: &Weak<ChosenCertificates>,
    read: &CertificateReader,
    wanted: &Receiver<CertificateFiles>,
) {
    while let Ok(files) = wanted.recv() {
        let result = read(&files);
        let Some(of) = of.upgrade() else {
            return;
        };
        let now = crate::clock::Clock::shared_now();
        if let Some(reading) = of.locked().read.get_mut(&files) {
            reading.is_over(result, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_net::tls::ClientCertificate;
    use std::time::Duration;

    fn reader() -> CertificateReader {
        Box::new(|files| {
            let pair = ClientCertificate::new(files.certificate.clone(), files.key.clone());
            ReadyCertificate::read_plain(&pair).map_err(|error| error.to_string())
        })
    }

    fn files(name: &str) -> CertificateFiles {
        CertificateFiles {
            certificate: format!("/nowhere/{name}.pem").into(),
            key: format!("/nowhere/{name}.key").into(),
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_told_and_read_again_later() {
        let certificates = Arc::new(ChosenCertificates::of_upstream());
        let now = crate::clock::Clock::shared_now();
        let get = |now| certificates.get(&files("a"), reader, now);
        assert!(matches!(get(now), KnownCertificate::Awaited));
        let why = loop {
            match get(now) {
                KnownCertificate::Awaited => thread::sleep(Duration::from_millis(1)),
                other => break other,
            }
        };
        assert!(
            matches!(&why, KnownCertificate::Unusable(why) if why.contains("/nowhere/a.pem")),
            "{why:?}"
        );
        let later = now + 10 * AFTER_FAILURE_MS;
        assert!(matches!(get(later), KnownCertificate::Awaited));
    }

    #[test]
    fn a_certificate_is_shown_while_it_is_read_again_and_a_while_after_a_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=a -keyout a.key -out a.pem";
        let mut command = std::process::Command::new("openssl");
        command
            .args(arguments.split(' '))
            .current_dir(folder.path());
        let output = command.output().expect("openssl is installed");
        assert!(output.status.success(), "{output:?}");
        let files = CertificateFiles {
            certificate: folder.path().join("a.pem"),
            key: folder.path().join("a.key"),
        };
        let certificates = Arc::new(ChosenCertificates::of_upstream());
        let get = |now| certificates.get(&files, reader, now);
        let read = || {
            while certificates.locked().read[&files].again.is_none() {
                thread::sleep(Duration::from_millis(1));
            }
        };
        let begin = crate::clock::Clock::shared_now();
        assert!(matches!(get(begin), KnownCertificate::Awaited));
        read();
        let read_at = crate::clock::Clock::shared_now();
        std::fs::remove_file(&files.key).expect("it is there");
        // This has it read again.
        assert!(matches!(
            get(read_at + VALID_MS),
            KnownCertificate::Ready(_)
        ));
        read();
        let failed_at = crate::clock::Clock::shared_now();
        assert!(matches!(get(failed_at), KnownCertificate::Ready(_)));
        assert!(certificates.locked().read[&files].problem.is_some());
        assert!(matches!(
            get(read_at + VALID_MS + KEPT_MS),
            KnownCertificate::Awaited
        ));
        read();
        let found = certificates.locked().read[&files].known(read_at + VALID_MS + KEPT_MS);
        assert!(matches!(found, KnownCertificate::Unusable(_)), "{found:?}");
    }

    /// A connection of which every variable is this text.
    struct Says(&'static str, moorline_proxy::Maps);

    impl Facts for Says {
        fn write(&self, _: moorline_config::Variable, text: &mut Text) {
            text.push(self.0.as_bytes());
        }

        fn maps(&self) -> &moorline_proxy::Maps {
            &self.1
        }

        fn set(&self, _: moorline_config::NameId) -> Option<&Template> {
            None
        }
    }

    #[test]
    fn a_connection_names_files_of_one_folder() {
        let text = "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nupstream = \"a\"\n[upstream.a]\npeers = [\"tcp://127.0.0.1:1\"]\n\
             tls = { certificate = \"${client.address}.pem\", key = \"${client.address}.key\" }\n";
        let config = moorline_config::load_text(text, Path::new("/c/a.toml"));
        let config = config.unwrap_or_else(|error| panic!("{error}")).config;
        let tls = config.upstreams[0].tls.as_ref().expect("it has TLS");
        let chosen = tls.certificate.as_ref().expect("it is chosen");
        let name = |value| {
            let facts = Says(value, moorline_proxy::Maps::default());
            CertificateFiles::chosen(chosen, &facts)
                .map(|it| it.map(|it| it.certificate.display().to_string()))
        };
        assert_eq!(name("a.test"), Ok(Some("/c/a.test.pem".to_owned())));
        assert_eq!(name(""), Ok(Some("/c/.pem".to_owned())));
        for value in ["../a", "/etc/a", "a/b", "..", "a\0"] {
            assert!(name(value).is_err(), "{value:?}");
        }
    }

    /// The certificate that a connection of this value gets by this text, with these tables behind it.
    fn chosen_by(text: &str, tables: &str, value: &'static str) -> Result<Option<String>, String> {
        let text = format!(
            "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nupstream = \"a\"\n[upstream.a]\n\
             peers = [\"tcp://127.0.0.1:1\"]\n\
             tls = {{ certificate = \"{text}\", key = \"k.pem\" }}\n{tables}"
        );
        let config = moorline_config::load_text(&text, Path::new("/c/a.toml"));
        let config = config.unwrap_or_else(|error| panic!("{error}")).config;
        let tls = config.upstreams[0].tls.as_ref().expect("it has TLS");
        let chosen = tls.certificate.as_ref().expect("it is chosen");
        let facts = Says(value, moorline_proxy::Maps::new(&config.maps));
        CertificateFiles::chosen(chosen, &facts)
            .map(|it| it.map(|it| it.certificate.display().to_string()))
    }

    #[test]
    fn what_a_map_makes_of_a_client_leads_to_no_other_folder() {
        let map = "[map.m]\nfrom = \"${client.address}\"\ndefault = \"${client.address}\"\n\
                   values = [[\"~^x-(.*)$\", \"${1}\"], [\"fixed\", \"/etc/../a.pem\"]]\n";
        let by = |value| chosen_by("${map.m}", map, value);
        assert_eq!(by("a.pem"), Ok(Some("/c/a.pem".to_owned())));
        assert_eq!(by("x-a.pem"), Ok(Some("/c/a.pem".to_owned())));
        // The configuration may name any file.
        assert_eq!(by("fixed"), Ok(Some("/etc/../a.pem".to_owned())));
        for value in ["/etc/a.pem", "x-/etc/a.pem", "../a.pem", "x-..", "x-a/b"] {
            assert!(by(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn parts_of_a_name_lead_to_no_other_folder_together() {
        for (text, value) in [
            ("certs/.${client.address}/c.pem", "."),
            ("certs/${client.address}${client.address}/c.pem", "."),
            ("certs/.${client.address}./c.pem", ""),
            ("certs/${client.address}/c.pem", "."),
            ("${client.address}/etc/c.pem", ""),
        ] {
            assert!(chosen_by(text, "", value).is_err(), "{text} of {value:?}");
        }
        let written = chosen_by("../certs/${client.address}.pem", "", "a");
        assert_eq!(written, Ok(Some("/c/../certs/a.pem".to_owned())));
    }

    #[test]
    fn there_are_only_so_many() {
        let certificates = Arc::new(ChosenCertificates::of_upstream());
        for at in 0..3 * MOST_OF_UPSTREAM {
            certificates.get(&files(&at.to_string()), reader, 0);
            assert!(certificates.locked().read.len() <= MOST_OF_UPSTREAM);
        }
    }
}
