//! Scripts that serve peers until the test ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use moorline_tests::{Site, eventually};

/// `main.lua` of a site, which runs until it is dropped. Its first line is `ready`, and numbers of ports.
pub(crate) struct Serving {
    process: Child,
    pub(crate) ports: Vec<u16>,
    said: Arc<Mutex<String>>,
}

impl Serving {
    #[track_caller]
    pub(crate) fn start(site: &Site, options: &[&str]) -> Self {
        let mut arguments = vec!["run"];
        arguments.extend(options);
        arguments.push("main.lua");
        let mut process = site
            .command(&arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let output = process.stdout.take().expect("it is piped");
        let said = Arc::new(Mutex::new(String::new()));
        let kept = said.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                *kept += &format!("{line}\n");
            }
        });
        let mut serving = Self {
            process,
            ports: Vec::new(),
            said,
        };
        eventually("the script is ready", || {
            let said = serving.said();
            let ready = said.lines().find_map(|line| line.strip_prefix("ready"));
            let ports = ready.map(|ports| ports.split_whitespace().map(str::parse));
            serving.ports = ports.map_or_else(Vec::new, |ports| ports.flatten().collect());
            ready.is_some() && said.ends_with('\n')
        });
        serving
    }

    /// Everything that it has said so far.
    pub(crate) fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) {
        eventually(words, || self.said().contains(words));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
