//! What holds for any text as a configuration.

use std::path::Path;

use super::host::Host;
use super::load::{load_on, run_dir_in};
use super::{Config, ConfigError, ConfigErrors, Destination, Listener, Map, UpstreamPeer};

/// The placeholder of a reason.
const LOST: &str = "reason was lost";

/// Any text: it is a valid configuration, or each error has its place, in words that are fit for a terminal.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let file = Path::new("/no such folder/app/moorline.toml");
    let host = Host {
        uid: 0,
        cpus: 8,
        allowed_cpus: (0..8).collect(),
        runtime_dir: None,
        has_run: false,
        knows_user: |name| name == "app",
        knows_group: |name| name == "app",
    };
    let loaded = load_on(text, file, &host);
    let run_dir = run_dir_in(text, file, &host);
    match loaded {
        Ok(loaded) => {
            assert_sensible(&loaded.config);
            assert_eq!(run_dir.as_ref(), Ok(&loaded.config.engine.run_dir));
            assert!(loaded.warnings.iter().all(|warning| is_fit(warning)));
        }
        Err(errors) => assert_helpful(&errors, text),
    }
    if let Err(errors) = run_dir {
        assert_helpful(&errors, text);
    }
}

fn assert_sensible(config: &Config) {
    // In the form in which it travels to the processes.
    let sent = postcard::to_stdvec(config).expect("a configuration can be sent");
    let without_maps = Config {
        maps: Vec::new(),
        ..config.clone()
    };
    assert_eq!(postcard::from_bytes::<Config>(&sent), Ok(without_maps));
    for map in &config.maps {
        let sent = postcard::to_stdvec(map).expect("a map can be sent");
        assert_eq!(postcard::from_bytes::<Map>(&sent).as_ref(), Ok(map));
    }
    assert!(config.engine.run_dir.is_absolute());
    assert!((1..=64).contains(&config.engine.gateway_loops));
    assert!(config.workers.count > 0 || !config.listeners.iter().any(Listener::needs_app));
    assert!(!config.listeners.is_empty());
    for listener in &config.listeners {
        assert_eq!(listener.framing.validate(), Ok(()));
        assert!(listener.low_watermark < listener.high_watermark);
        assert!(listener.high_watermark <= listener.hard_limit);
    }
    for listener in &config.listeners {
        if let Some(Destination::Upstream(name)) = &listener.destination {
            let upstream = config.upstream(name);
            assert!(upstream.is_some_and(|it| !it.peers.is_empty()), "{name:?}");
        }
    }
    for upstream in &config.upstreams {
        let is_usable = |peers: &[UpstreamPeer]| peers.iter().any(|peer| !peer.is_backup);
        assert!(upstream.peers.is_empty() || is_usable(&upstream.peers));
        assert!(upstream.peers.iter().all(|peer| peer.weight > 0));
    }
    let app = config.app.parse::<toml::Table>();
    assert!(app.is_ok(), "{:?}", config.app);
}

fn assert_helpful(errors: &ConfigErrors, text: &str) {
    assert!(!errors.0.is_empty());
    assert!(errors.0.is_sorted_by_key(|error| match error.line {
        // Absent keys are reported last.
        0 => usize::MAX,
        line => line,
    }));
    for (place, error) in errors.0.iter().enumerate() {
        assert!(!errors.0[..place].contains(error), "said twice: {error:?}");
        assert_placed(error, text);
        assert!(is_fit(&error.message), "{error:?}");
        assert!(error.hint.as_deref().is_none_or(is_fit), "{error:?}");
        let is_lost = error.message.contains(LOST) && !text.contains(LOST);
        assert!(!is_lost, "{error:?}");
    }
}

/// Line and column lie in the text, and the carets mark the quoted line.
fn assert_placed(error: &ConfigError, text: &str) {
    let Some((quote, carets)) = &error.quote else {
        assert_eq!((error.line, error.column), (0, 0));
        return;
    };
    let line = error
        .line
        .checked_sub(1)
        .and_then(|line| text.split('\n').nth(line));
    let columns = line.map(|line| line.chars().count() + 1);
    assert!(
        columns.is_some_and(|columns| (1..=columns).contains(&error.column)),
        "{error:?}"
    );
    assert!(quote.is_empty() || is_fit(quote));
    assert!(
        carets
            .trim_start_matches(' ')
            .trim_start_matches('^')
            .is_empty()
    );
    assert!(carets.ends_with('^'));
}

/// A message on one line, without a sequence that the terminal would obey.
fn is_fit(words: &str) -> bool {
    !words.is_empty() && !words.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn kept_inputs_break_no_invariant_of_configurations() {
        replay("config", super::config);
    }
}
