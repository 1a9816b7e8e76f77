//! The files of the engine, in a folder that is removed with this.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

const CONFIG: &str = include_str!("site/moorline.toml");
const SCRIPT: &str = include_str!("site/main.lua");
/// What a broken build begins with: it fails when it is started, not when it is read.
const BROKEN: &str = "error(\"this build is broken: it has a mistake in its first line\")\n";

/// The folder of an engine.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    token: String,
    /// The number of the last build.
    build: AtomicU32,
    /// Held while a build is deployed: there is one at a time.
    pub(crate) deploying: Mutex<()>,
}

impl Site {
    /// A folder that only this user can read. `play`: where the page is, which may open WebSocket sessions.
    pub(crate) fn new(play: SocketAddr) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("moorline-demo-")
            .tempdir()?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700))?;
        let site = Self {
            token: token()?,
            folder,
            build: AtomicU32::new(0),
            deploying: Mutex::default(),
        };
        let origins = format!("\"http://{play}\", \"http://localhost:{}\"", play.port());
        site.write("moorline.toml", &CONFIG.replace("ORIGINS", &origins))?;
        site.write("admin.token", &site.token)?;
        site.next_build()?;
        Ok(site)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("moorline.toml")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A text with names of files instead of paths.
    pub(crate) fn without_folder(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// The token of the admin page.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Puts the next build into its place. Returns its number.
    pub(crate) fn next_build(&self) -> io::Result<u32> {
        let build = self.build.fetch_add(1, Ordering::Relaxed) + 1;
        self.put_build("", build)?;
        Ok(build)
    }

    /// Puts a broken build into its place.
    pub(crate) fn break_build(&self) -> io::Result<()> {
        self.put_build(BROKEN, self.build.load(Ordering::Relaxed) + 1)
    }

    /// Puts the last build that works into its place again.
    pub(crate) fn mend_build(&self) -> io::Result<()> {
        self.put_build("", self.build.load(Ordering::Relaxed))
    }

    fn put_build(&self, before: &str, build: u32) -> io::Result<()> {
        let script = SCRIPT.replace("BUILD_NUMBER", &build.to_string());
        self.write("main.lua", &format!("{before}{script}"))
    }

    /// Whole or not at all, for who reads it meanwhile.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let (draft, place) = (self.path(&format!("{name}.draft")), self.path(name));
        let mut open = OpenOptions::new();
        let open = open.write(true).create(true).truncate(true).mode(0o600);
        open.open(&draft)?.write_all(text.as_bytes())?;
        fs::rename(draft, place)
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
