//! `serve` and `check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use moorline_engine::Descriptors;
use moorline_engine::config::{self, Config, Helper, HelperTask, Loaded};
use moorline_engine::{admin, supervisor};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::doctor;
use super::output::tell;
use super::{Failure, Paths, Served, finish};

pub(super) fn serve(paths: &Paths, config: Option<PathBuf>, end_with_parent: bool) -> ExitCode {
    if end_with_parent && let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return finish(Err(Failure::failed(error)));
    }
    finish(load(paths, config).and_then(|loaded| {
        if let Served::OnlyLua = paths.served
            && loaded.config.workers.lua.is_none()
            && let Some(name) = needs_app(&loaded.config)
        {
            return Err(Failure::failed(format!(
                "the listener {name:?} has sessions, and this command has no app to handle them\n  \
                 hint: write `lua = \"main.lua\"` in [workers] and a script that handles them; or an app in Rust, whose `main` \
                 is `moorline::run(MyApp::start)`: `cargo doc -p moorline --open` begins with an example. Its program then \
                 serves this configuration"
            )));
        }
        let load = |path: &Path| {
            let loaded = config::load(path).map_err(|errors| errors.to_string())?;
            match lacks_export(&loaded.config) {
                true => Err(NO_OTEL.to_owned()),
                false => Ok(loaded),
            }
        };
        supervisor::serve_from(loaded, Box::new(load)).map_err(Failure::failed)
    }))
}

pub(super) fn check(paths: &Paths, config: Option<PathBuf>) -> ExitCode {
    finish(load(paths, config).and_then(|loaded| {
        for warning in &loaded.warnings {
            tell(format_args!("warning: {warning}"));
        }
        let descriptors = Descriptors::of(&loaded.config);
        let descriptors = descriptors.check().map_err(Failure::failed)?;
        tell(descriptors);
        if descriptors.left() == 0 {
            tell("warning: no connection is accepted with so few: raise the hard limit");
        }
        doctor::tell_relaying(&loaded.config);
        tell(format_args!("{}: ok", loaded.path.display()));
        Ok(())
    }))
}

pub(super) fn doctor(paths: &Paths, config: Option<PathBuf>) -> ExitCode {
    match load(paths, config) {
        Ok(loaded) => doctor::doctor(&loaded.config, &loaded.warnings),
        Err(failure) => finish(Err(failure)),
    }
}

fn load(paths: &Paths, config: Option<PathBuf>) -> Result<Loaded, Failure> {
    let path = paths.config(config)?;
    let loaded = config::load(&path);
    let app = match paths.served {
        Served::App(check_app) => check_app(&path),
        Served::OnlyLua => Ok(()),
    };
    match (loaded, app) {
        (Ok(loaded), Ok(())) if has_two_apps(paths, &loaded.config) => {
            return Err(Failure::usage(
                "`lua` in [workers] is for the `moorline` command, and this program is an app itself\n  \
                 hint: remove the key, or serve the file with `moorline`",
            ));
        }
        (Ok(loaded), Ok(())) if lacks_export(&loaded.config) => {
            return Err(Failure::usage(NO_OTEL));
        }
        (Ok(loaded), Ok(())) => Ok(loaded),
        (Err(mut errors), Err(more)) if errors != more => {
            errors.0.extend(more.0);
            errors
                .0
                .sort_by_key(|error| (error.line == 0, error.line, error.column));
            Err(errors)
        }
        (Err(errors), _) | (_, Err(errors)) => Err(errors),
    }
    .map_err(Failure::usage)
}

fn has_two_apps(paths: &Paths, config: &Config) -> bool {
    matches!(paths.served, Served::App(_)) && config.workers.lua.is_some()
}

/// Whether it names a collector, and this program cannot send to one.
fn lacks_export(config: &Config) -> bool {
    let is_asked = |helper: &Helper| match &helper.task {
        HelperTask::Admin(admin) => admin.otlp.is_some(),
        HelperTask::Command(_) => false,
    };
    !admin::CAN_EXPORT && config.helpers.iter().any(is_asked)
}

const NO_OTEL: &str = "[admin.otlp]: this program is built without the feature `otel`, and cannot send to a collector\n  \
    hint: build it with the feature, as in `cargo build --release -p moorline --features otel`, or remove the table";

/// The name of a listener whose connections an app has to handle.
fn needs_app(config: &Config) -> Option<&str> {
    config
        .listeners
        .iter()
        .find(|listener| listener.needs_app())
        .map(|listener| listener.name.as_str())
}
