//! The files in `contrib/` that put the command into containers, Kubernetes and Debian.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use moorline_tests::{Client, Site, Wire, built};
use yaml_rust2::{Yaml, YamlLoader};

use super::blocks::docs;

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../contrib")
        .join(name)
}

fn text(name: &str) -> String {
    let path = contrib(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// The manifest of a kind.
fn of_kind(kind: &str) -> Yaml {
    let manifests = YamlLoader::load_from_str(&text("kubernetes/moorline.yaml"));
    let mut manifests = manifests.expect("it is YAML").into_iter();
    let found = manifests.find(|manifest| manifest["kind"].as_str() == Some(kind));
    found.unwrap_or_else(|| panic!("there is no {kind}"))
}

fn number(value: &Yaml) -> u64 {
    let number = value.as_i64().and_then(|number| number.try_into().ok());
    number.unwrap_or_else(|| panic!("{value:?} is no number"))
}

/// Seconds of a duration, as the configuration has it.
fn seconds(config: &str, key: &str) -> u64 {
    let begin = format!("{key} = \"");
    let (_, rest) = config
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no {key}"));
    let (number, _) = rest.split_once("s\"").expect("it is in seconds");
    number.parse().expect("a number")
}

#[test]
fn the_engine_of_the_manifests_starts_answers_probes_and_ends_within_the_grace_period() {
    let map = of_kind("ConfigMap");
    let config = map["data"]["moorline.toml"].as_str().expect("a text");
    let pod = &of_kind("Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let grace = number(&pod["terminationGracePeriodSeconds"]);
    let wait: u64 = container["lifecycle"]["preStop"]["exec"]["command"][1]
        .as_str()
        .and_then(|seconds| seconds.parse().ok())
        .expect("it sleeps");
    let needed = wait + seconds(config, "stop_over") + seconds(config, "max_wait");
    assert!(needed + 5 <= grace, "{needed} of {grace} seconds");

    // The engine itself, in a folder instead of the container.
    let here = config
        .replace("0.0.0.0:9501", "127.0.0.1:0")
        .replace("127.0.0.1:9400", "127.0.0.1:0")
        .replace("/run/moorline", "{folder}/run")
        .replace("stop_over = \"30s\"", "stop_over = \"0s\"");
    let site = Site::new("moorline", &here);
    // As an empty volume is.
    std::fs::create_dir(site.path("run"))
        .and_then(|()| std::fs::set_permissions(site.path("run"), Permissions::from_mode(0o777)))
        .expect("the folder can be made");
    let script = map["data"]["main.lua"].as_str().expect("a text");
    site.write("main.lua", script);
    let mut engine = site.start();
    let mut client = Client::connect(&engine, 0, Wire::Line);
    assert_eq!(client.ask("hello"), "you said hello");
    for probe in ["startupProbe", "livenessProbe"] {
        let command = container[probe]["exec"]["command"].as_vec();
        let words = command.expect("a command").iter();
        let words: Vec<String> = words
            .map(|word| word.as_str().expect("a word"))
            .map(|word| word.replace("/run/moorline", &site.path("run").display().to_string()))
            .collect();
        assert_eq!(words[0], "moorline");
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let finished = site.command(&arguments).output().expect("it runs");
        assert!(finished.status.success(), "{finished:?}");
    }
    moorline_tests::kill(engine.supervisor(), nix::sys::signal::Signal::SIGTERM);
    assert!(engine.ended().success());
}

#[test]
fn ports_paths_and_names_of_the_manifests_the_image_and_the_page_agree() {
    let map = of_kind("ConfigMap");
    let config = map["data"]["moorline.toml"].as_str().expect("a text");
    let deployment = of_kind("Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let service = of_kind("Service");
    let port = &container["ports"][0];
    let number = number(&port["containerPort"]);
    assert!(config.contains(&format!(":{number}\"")));
    assert_eq!(service["spec"]["ports"][0]["port"], port["containerPort"]);
    for named in [
        &service["spec"]["ports"][0]["targetPort"],
        &container["readinessProbe"]["tcpSocket"]["port"],
    ] {
        assert_eq!(named, &port["name"]);
    }
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels, &service["spec"]["selector"]);
    assert_eq!(labels, &deployment["spec"]["selector"]["matchLabels"]);

    let image = text("container/Containerfile");
    let command = "CMD [\"serve\", \"/etc/moorline/moorline.toml\"]";
    assert!(image.contains(command), "{image}");
    assert_eq!(
        container["args"][1].as_str(),
        Some("/etc/moorline/moorline.toml")
    );
    assert!(image.contains(" /run/moorline"));
    let page = std::fs::read_to_string(docs().join("howto/containers.md")).expect("it is there");
    assert!(page.contains(&format!(":{number} ")));
    for said in ["`stop_over` (30 s)", "`preStop` (5 s)", "(60 s)"] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn the_service_of_the_debian_package_and_its_example_agree() {
    let unit = text("debian/moorline.service");
    let example = text("debian/moorline.toml");
    assert!(unit.contains("RuntimeDirectory=moorline\n"));
    assert!(example.contains("run_dir = \"/run/moorline\""));
    for line in unit.lines().filter(|line| line.starts_with("Exec")) {
        assert!(line.contains("/usr/bin/moorline "), "{line}");
        assert!(line.ends_with(" /etc/moorline/moorline.toml"), "{line}");
    }
    let site = Site::new(
        "moorline",
        &example.replace("/usr/share/doc/moorline", "{folder}"),
    );
    site.run(&["check"]).expect_success();
}

/// What the package is made of is where its manifest says, or is written by the commands of the page.
#[test]
fn the_files_of_the_debian_package_are_there() {
    let manifest = docs().join("../crates/moorline/Cargo.toml");
    let folder = manifest.parent().expect("it is in a folder");
    let text = std::fs::read_to_string(&manifest).expect("it is there");
    let page = std::fs::read_to_string(docs().join("howto/packages.md")).expect("it is there");
    let assets = text.split_once("assets = [").expect("they are listed").1;
    let mut count = 0;
    for line in assets.lines().filter(|line| line.trim().starts_with("[\"")) {
        let path = line.split('"').nth(1).expect("a path");
        count += 1;
        match path.strip_prefix("../../target/") {
            Some(made) => {
                assert!(page.contains(&format!("target/{}", made.trim_end_matches("/*.1"))))
            }
            None if path.starts_with("target/release/") => assert!(built("moorline").exists()),
            None => assert!(folder.join(path).exists(), "{path}"),
        }
    }
    assert!(count > 8, "{count}");
}
