//! `import`: Moorline's configuration from that of another program.

mod files;
mod pattern;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use moorline_engine::config::{self, Loaded};
use moorline_engine::supervisor;
use moorline_import::{Imported, Kind, Source};

use super::output::{print, warn};
use super::{Failure, finish};
use files::SystemFiles;

/// More than any configuration.
const MOST_BYTES: u64 = 64 << 20;

/// Turn the configuration of nginx's `stream` or of HAProxy's TCP mode into Moorline's.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// As in nginx.conf or haproxy.cfg; - for standard input.
    file: PathBuf,
    /// Which program the file belongs to. Default: what it looks like.
    #[arg(long, value_name = "PROGRAM")]
    kind: Option<Program>,
    /// Serve it at once. A reload imports the file again.
    #[arg(long)]
    run: bool,
    /// Write the TOML there instead of on standard output.
    #[arg(long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// Where relative paths in it begin. Default: the file's folder.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// A program whose configuration can be imported.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Program {
    /// Its `stream` block.
    Nginx,
    /// Its TCP mode.
    Haproxy,
}

pub(super) fn import(args: &ImportArgs) -> ExitCode {
    finish(read(&args.file, SystemFiles::FIRST).and_then(|text| {
        let folder = folder(args)?;
        let order = Order {
            name: args.file.display().to_string(),
            kind: args.kind,
            folder,
        };
        let imported = order.import(&text, SystemFiles::FIRST)?;
        for path in &args.output {
            fs::write(path, &imported.toml).map_err(|error| {
                Failure::failed(format!("{} cannot be written: {error}", path.display()))
            })?;
        }
        tell_remarks(&imported);
        match args.run {
            true => serve(args, order, &imported),
            false => {
                if !args.output.is_empty() {
                    return Ok(());
                }
                print(|out| out.write_all(imported.toml.as_bytes()))
            }
        }
    }))
}

/// What to import, and how.
struct Order {
    /// The file as it was named.
    name: String,
    kind: Option<Program>,
    folder: PathBuf,
}

impl Order {
    fn import(&self, text: &str, mut files: SystemFiles) -> Result<Imported, Failure> {
        let kind = match self.kind {
            Some(Program::Nginx) => Kind::Nginx,
            Some(Program::Haproxy) => Kind::Haproxy,
            None => Kind::of(text),
        };
        let source = Source {
            name: &self.name,
            folder: &self.folder,
            text,
        };
        moorline_import::import(&source, kind, &mut files).map_err(|errors| {
            let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Failure::usage(lines.join("\nerror: "))
        })
    }
}

fn serve(args: &ImportArgs, order: Order, imported: &Imported) -> Result<(), Failure> {
    // Reloads and commands name the engine by it. It need not be a file.
    let path = match is_standard_input(&args.file) {
        true => order.folder.join("imported"),
        false => config::resolved(&args.file),
    };
    let loaded = config::load_text(&imported.toml, &path).map_err(|errors| broken(&errors))?;
    let can_reload = !is_standard_input(&args.file);
    let load = move |path: &Path| -> Result<Loaded, String> {
        if !can_reload {
            return Err(
                "the configuration came from standard input, which can be read only once".into(),
            );
        }
        let files = SystemFiles::AGAIN;
        let text = read(path, files).map_err(|failure| failure.message)?;
        let imported = order
            .import(&text, files)
            .map_err(|failure| failure.message)?;
        tell_remarks(&imported);
        config::load_text(&imported.toml, path).map_err(|errors| broken(&errors).message)
    };
    supervisor::serve_from(loaded, Box::new(load)).map_err(Failure::failed)
}

/// Whatever is wrong with an imported file is not known before its certificates and names are looked at.
fn broken(errors: &config::ConfigErrors) -> Failure {
    Failure::usage(format!(
        "Moorline cannot use the imported configuration. These are lines of what `moorline import` prints:\n{errors}"
    ))
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

fn tell_remarks(imported: &Imported) {
    for remark in &imported.remarks {
        warn(format_args!("remark: {remark}"));
    }
}

/// The text of the file, which is read once.
fn read(file: &Path, files: SystemFiles) -> Result<String, Failure> {
    let text = match is_standard_input(file) {
        true => bounded(io::stdin().lock()),
        false => files.open(file).and_then(bounded),
    };
    text.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))
}

fn bounded(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    let read = from.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    match read as u64 > MOST_BYTES {
        true => Err(io::Error::other("it has over 64 MiB")),
        false => Ok(text),
    }
}

/// Where relative paths begin: as an absolute path.
fn folder(args: &ImportArgs) -> Result<PathBuf, Failure> {
    let is_file = fs::metadata(&args.file).is_ok_and(|found| {
        let kind = found.file_type();
        !kind.is_fifo() && !kind.is_char_device()
    });
    let folder = match &args.folder {
        Some(folder) => folder.as_path(),
        None if is_file => args.file.parent().unwrap_or(Path::new("")),
        None => Path::new(""),
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    fs::canonicalize(folder)
        .map_err(|error| Failure::usage(format!("{} cannot be used: {error}", folder.display())))
}
