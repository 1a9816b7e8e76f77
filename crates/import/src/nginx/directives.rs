//! Every directive that may stand in a block, and what becomes of it.

use super::tree::Directive;
use crate::note::Report;

/// What becomes of a directive.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It is imported.
    Imported,
    /// It has no meaning here; the remark says why.
    Ignored(&'static str),
    /// It cannot be expressed; the error says why.
    Refused(&'static str),
}

use Fate::{Ignored, Imported, Refused};

const SIZED: &str = "tables grow as they need to";
const CIPHERS: &str =
    "all ciphers and curves that Moorline has are strong, and it prefers the best";
const STAPLING: &str = "no proofs by OCSP are shown with certificates; clients that need them ask the issuer themselves";
const MODULE: &str = "it belongs to a module that Moorline does not have";
const COMMERCIAL: &str = "it belongs to nginx's commercial edition";
const NO_KEY_LOG: &str = "the keys of connections are written to no file";
const OWN_PROCESSES: &str = "Moorline has processes of its own";

/// In the file itself.
const MAIN: &[(&str, Fate)] = &[
    ("stream", Imported),
    (
        "events",
        Ignored("Moorline has loops of its own: see `max_sessions` of a listener"),
    ),
    ("http", Ignored("only the `stream` block is imported")),
    ("mail", Ignored("only the `stream` block is imported")),
    ("daemon", Ignored("Moorline runs in the foreground")),
    ("master_process", Ignored(OWN_PROCESSES)),
    (
        "worker_processes",
        Ignored("see `gateway_loops` of [engine]: one for each CPU by default"),
    ),
    ("worker_cpu_affinity", Ignored(OWN_PROCESSES)),
    ("worker_priority", Ignored(OWN_PROCESSES)),
    (
        "worker_rlimit_nofile",
        Ignored("Moorline raises the limit as far as it may"),
    ),
    ("worker_rlimit_core", Ignored(OWN_PROCESSES)),
    (
        "worker_shutdown_timeout",
        Ignored("see `max_wait` of [workers]"),
    ),
    ("working_directory", Ignored(OWN_PROCESSES)),
    ("user", Ignored("see `gateway_user` of [engine]")),
    ("pid", Ignored("Moorline has a lock in its run folder")),
    ("lock_file", Ignored(OWN_PROCESSES)),
    ("error_log", Ignored("see `log` of [engine]")),
    ("load_module", Ignored("everything is part of Moorline")),
    ("thread_pool", Ignored(OWN_PROCESSES)),
    ("timer_resolution", Ignored(OWN_PROCESSES)),
    (
        "pcre_jit",
        Ignored("regular expressions are compiled when the configuration is loaded"),
    ),
    ("ssl_engine", Refused("Moorline uses no engine of OpenSSL")),
    (
        "ssl_object_cache_inheritable",
        Ignored("certificates are read at each reload"),
    ),
    ("env", Ignored("nothing of the environment is used")),
    ("debug_points", Ignored(OWN_PROCESSES)),
    ("debug_connection", Ignored(OWN_PROCESSES)),
    ("google_perftools_profiles", Ignored(OWN_PROCESSES)),
];

/// In `stream`, and no server has them.
const STREAM: &[(&str, Fate)] = &[
    ("server", Imported),
    ("upstream", Imported),
    ("variables_hash_max_size", Ignored(SIZED)),
    ("variables_hash_bucket_size", Ignored(SIZED)),
    ("server_names_hash_max_size", Ignored(SIZED)),
    ("server_names_hash_bucket_size", Ignored(SIZED)),
    ("map", Imported),
    ("geo", Imported),
    ("split_clients", Imported),
    ("limit_conn_zone", Imported),
    ("log_format", Imported),
    (
        "geoip_country",
        Refused("no files of GeoIP are read: write a `geo` with the networks"),
    ),
    (
        "geoip_city",
        Refused("no files of GeoIP are read: write a `geo` with the networks"),
    ),
    (
        "geoip_org",
        Refused("no files of GeoIP are read: write a `geo` with the networks"),
    ),
    ("js_import", Refused(MODULE)),
    ("js_set", Refused(MODULE)),
    ("js_var", Refused(MODULE)),
    ("js_path", Refused(MODULE)),
    ("js_shared_dict_zone", Refused(MODULE)),
    ("js_preload_object", Refused(MODULE)),
    ("keyval", Refused(COMMERCIAL)),
    ("keyval_zone", Refused(COMMERCIAL)),
    (
        "match",
        Refused("health checks are `check` of an upstream: `send` and `expect` of kind \"expect\""),
    ),
    ("map_hash_max_size", Ignored(SIZED)),
    ("map_hash_bucket_size", Ignored(SIZED)),
];

/// In a server, or in `stream` for all of them.
const BOTH: &[(&str, Fate)] = &[
    ("proxy_connect_timeout", Imported),
    ("proxy_timeout", Imported),
    ("proxy_next_upstream", Imported),
    ("proxy_next_upstream_tries", Imported),
    ("proxy_next_upstream_timeout", Imported),
    ("proxy_bind", Imported),
    ("proxy_half_close", Imported),
    (
        "proxy_buffer_size",
        Ignored("buffers are shared by all connections of a loop"),
    ),
    (
        "proxy_downstream_buffer",
        Ignored("buffers are shared by all connections of a loop"),
    ),
    (
        "proxy_upstream_buffer",
        Ignored("buffers are shared by all connections of a loop"),
    ),
    (
        "proxy_socket_keepalive",
        Ignored("the other side's silence is found by `idle_timeout`"),
    ),
    ("proxy_protocol_timeout", Imported),
    ("proxy_protocol", Imported),
    ("ssl_preread", Imported),
    ("preread_buffer_size", Imported),
    ("preread_timeout", Imported),
    ("tcp_nodelay", Imported),
    ("limit_conn", Imported),
    ("limit_conn_dry_run", Imported),
    (
        "limit_conn_log_level",
        Ignored("the log tells refused connections once a second"),
    ),
    ("access_log", Imported),
    (
        "open_log_file_cache",
        Ignored("open files of logs are kept, and their number has a limit"),
    ),
    ("proxy_upload_rate", Imported),
    ("proxy_download_rate", Imported),
    ("resolver", Imported),
    ("resolver_timeout", Imported),
    ("proxy_requests", Imported),
    ("proxy_responses", Imported),
    ("proxy_ssl", Imported),
    ("proxy_ssl_certificate", Imported),
    ("proxy_ssl_certificate_key", Imported),
    ("proxy_ssl_password_file", Imported),
    ("proxy_ssl_crl", Imported),
    ("proxy_ssl_name", Imported),
    ("proxy_ssl_protocols", Imported),
    ("proxy_ssl_server_name", Imported),
    ("proxy_ssl_session_reuse", Imported),
    ("proxy_ssl_trusted_certificate", Imported),
    ("proxy_ssl_verify", Imported),
    ("proxy_ssl_ciphers", Ignored(CIPHERS)),
    ("proxy_ssl_verify_depth", Imported),
    (
        "proxy_ssl_certificate_cache",
        Ignored(
            "certificates are read when the configuration is loaded; those whose names have variables are kept for 10 s",
        ),
    ),
    ("set_real_ip_from", Imported),
    ("error_log", Ignored("see `log` of [engine]")),
    ("allow", Imported),
    ("deny", Imported),
    ("ssl_stapling", Ignored(STAPLING)),
    ("ssl_stapling_file", Ignored(STAPLING)),
    ("ssl_stapling_responder", Ignored(STAPLING)),
    ("ssl_stapling_verify", Ignored(STAPLING)),
    (
        "ssl_ocsp",
        Refused("certificates of clients are not looked up by OCSP: write `ssl_crl`"),
    ),
    ("ssl_ocsp_cache", Ignored("it belongs to `ssl_ocsp`")),
    ("ssl_ocsp_responder", Ignored("it belongs to `ssl_ocsp`")),
    ("ssl_key_log", Ignored(NO_KEY_LOG)),
    ("proxy_ssl_key_log", Ignored(NO_KEY_LOG)),
    (
        "ssl_certificate_compression",
        Ignored("certificates are shown as they are"),
    ),
    (
        "ssl_encrypted_hello_key",
        Refused("encrypted hellos are not read"),
    ),
    ("ssl_ech_file", Refused("encrypted hellos are not read")),
    (
        "proxy_session_drop",
        Refused("sessions keep their peer when that is removed or fails its checks"),
    ),
    ("js_access", Refused(MODULE)),
    ("js_filter", Refused(MODULE)),
    ("js_preread", Refused(MODULE)),
    ("js_periodic", Refused(MODULE)),
    ("mqtt", Refused(COMMERCIAL)),
    ("mqtt_set_connect", Refused(COMMERCIAL)),
    ("mqtt_preread", Refused(COMMERCIAL)),
    (
        "status_zone",
        Ignored("`moorline status` and `moorline upstreams` tell all"),
    ),
    (
        "health_check",
        Refused("health checks are `check` of an upstream: write it there"),
    ),
    (
        "health_check_timeout",
        Ignored("it belongs to `health_check`: see `check` of an upstream"),
    ),
    ("ssl_conf_command", Imported),
    ("proxy_ssl_conf_command", Imported),
    ("ssl_reject_handshake", Imported),
    ("ssl_certificate", Imported),
    ("ssl_certificate_key", Imported),
    ("ssl_password_file", Imported),
    ("ssl_session_cache", Imported),
    ("ssl_session_tickets", Imported),
    (
        "ssl_session_timeout",
        Ignored("tickets have a time of their own"),
    ),
    (
        "ssl_session_ticket_key",
        Ignored("tickets have keys of their own, which a restart changes"),
    ),
    ("ssl_verify_client", Imported),
    ("ssl_client_certificate", Imported),
    ("ssl_trusted_certificate", Imported),
    ("ssl_protocols", Imported),
    ("ssl_alpn", Imported),
    ("ssl_handshake_timeout", Imported),
    ("ssl_ciphers", Ignored(CIPHERS)),
    ("ssl_prefer_server_ciphers", Ignored(CIPHERS)),
    ("ssl_ecdh_curve", Ignored(CIPHERS)),
    ("ssl_dhparam", Ignored(CIPHERS)),
    ("ssl_verify_depth", Imported),
    ("ssl_crl", Imported),
    (
        "ssl_certificate_cache",
        Ignored("certificates are read when the configuration is loaded"),
    ),
];

/// In a server only.
const SERVER: &[(&str, Fate)] = &[
    ("listen", Imported),
    ("server_name", Imported),
    (
        "pass",
        Refused(
            "no connection is handed to another listener: write `proxy_pass` with the address of that listener, and \
             `proxy_protocol` if it must know the client",
        ),
    ),
    ("proxy_pass", Imported),
    ("return", Imported),
    ("set", Imported),
];

/// In `upstream`.
const UPSTREAM: &[(&str, Fate)] = &[
    ("server", Imported),
    ("zone", Ignored("all loops share the state of an upstream")),
    ("resolver", Imported),
    ("resolver_timeout", Imported),
    ("least_conn", Imported),
    ("hash", Imported),
    ("random", Imported),
    ("least_time", Imported),
    ("state", Refused(COMMERCIAL)),
];

/// Where a directive stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Main,
    Stream,
    Server,
    Upstream,
}

/// Says of each directive of a block that is not imported what becomes of it.
pub(super) fn check(block: Block, directives: &[Directive], report: &mut Report) {
    let (tables, name): (&[&[_]], _) = match block {
        Block::Main => (&[MAIN], "outside of all blocks"),
        Block::Stream => (&[STREAM, BOTH], "in `stream`"),
        Block::Server => (&[SERVER, BOTH], "in a server"),
        Block::Upstream => (&[UPSTREAM], "in an upstream"),
    };
    for directive in directives {
        let mut entries = tables.iter().copied().flatten();
        match entries.find(|(known, _)| *known == directive.name) {
            Some((_, Imported)) => {}
            Some((known, Ignored(why))) => {
                report.remark(&directive.place, format!("`{known}` has no effect: {why}"));
            }
            // That is how it is here.
            Some((_, Refused(_))) if directive.arguments == ["off"] => {}
            Some((_, Refused(why))) => {
                directive.refuse(report, format!("cannot be expressed: {why}"));
            }
            None => {
                directive.refuse(report, format!("{name} is not imported by this version"));
            }
        }
    }
}

/// The directives of the `stream` block and what is within it, and whether each is imported.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, bool)> {
    let all = [STREAM, BOTH, SERVER, UPSTREAM].into_iter().flatten();
    all.map(|(name, fate)| (*name, matches!(fate, Imported)))
}
