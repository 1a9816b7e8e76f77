//! The engine behind proxies as people run them: nginx and HAProxy.

use std::net::SocketAddr;

use moorline_tests::{Client, Engine, Issuer, Outsider, Site, Stream, Wire, eventually};

/// The listeners 0 WebSocket that reads `X-Forwarded-For`, 1 that reads `Forwarded`, 2 length with the PROXY protocol.
const CONFIG: &str = r#"
[workers]
count = 2
dispatch = "ip-hash"
[[listen]]
name = "list"
address = "http://127.0.0.1:0"
websocket = "/ws"
trusted_proxies = ["127.0.0.1"]
max_sessions_per_address = 2
[[listen]]
name = "elements"
address = "http://127.0.0.1:0"
websocket = "/ws"
trusted_proxies = ["127.0.0.1"]
forwarded_header = "forwarded"
hosts = ["a.example"]
[[listen]]
name = "raw"
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 4, counts = "payload" }
proxy_protocol = true
trusted_proxies = ["127.0.0.1"]
"#;

/// A proxy in front of an engine.
struct Proxy {
    program: Outsider,
}

impl Proxy {
    fn nginx(engine: &Engine) -> Self {
        let (list, elements) = (engine.socket_address(0), engine.socket_address(1));
        let upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
            proxy_set_header Connection upgrade; proxy_bind 127.0.0.1;";
        let list_of = |front: &str| {
            format!(
                "server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://{list}; {upgrade} proxy_set_header Host $http_host; \
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
                 proxy_set_header X-Forwarded-Proto $scheme; }} }}"
            )
        };
        let config = format!(
            "daemon off; master_process off; pid FOLDER/nginx.pid; error_log FOLDER/nginx.log;\n\
             events {{}}\nhttp {{ access_log off; client_body_temp_path FOLDER/b; proxy_temp_path FOLDER/p; \
             fastcgi_temp_path FOLDER/f; uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;\n\
             {}\n{}\nserver {{ listen 127.0.0.1:PORT2; location / {{ proxy_pass http://{elements}; {upgrade} \
             proxy_set_header Forwarded \"$http_forwarded, for=$remote_addr;proto=https;host=a.example\"; \
             proxy_set_header Host internal; }} }} }}",
            list_of("PORT0"),
            list_of(
                "PORT1 ssl; ssl_certificate FOLDER/front.pem; ssl_certificate_key FOLDER/front.key"
            ),
        );
        let program = Outsider::start(&engine.site(), "nginx", &["-c"], &config, 3);
        Self { program }
    }

    fn haproxy(engine: &Engine) -> Self {
        let (list, raw) = (engine.socket_address(0), engine.socket_address(2));
        let front = |port: &str, mode: &str, to: SocketAddr, how: &str| {
            format!(
                "listen l{port}\n  bind 127.0.0.1:{port}\n  mode {mode}\n  server s {to} {how}\n"
            )
        };
        let config = [
            "defaults\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n"
                .to_owned(),
            front("PORT0", "tcp", raw, "send-proxy"),
            front("PORT1", "tcp", raw, "send-proxy-v2"),
            front(
                "PORT2",
                "tcp",
                raw,
                "send-proxy-v2 check check-send-proxy inter 200",
            ),
            front(
                "PORT3",
                "http\n  option forwardfor",
                list,
                "source 127.0.0.1",
            ),
        ];
        let config = config.concat();
        let program = Outsider::start(&engine.site(), "haproxy", &["-db", "-f"], &config, 4);
        Self { program }
    }

    /// A connection from this address of the machine.
    fn connect(&self, front: usize, from: u8, wire: Wire) -> Client {
        let address = SocketAddr::from(([127, 0, 0, 1], self.program.ports[front]));
        Client::connect_to(address, wire, [127, 0, 0, from])
    }

    /// The peer of a WebSocket session as the app sees it, or the answer's head.
    fn peer(&self, front: usize, from: u8, headers: &str) -> Result<String, String> {
        peer(&mut self.connect(front, from, Wire::Raw), headers)
    }
}

fn peer(client: &mut Client, headers: &str) -> Result<String, String> {
    let head = client.shake_hands_with("/ws", headers).expect("an answer");
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err(head[9..12].to_owned());
    }
    client
        .send_bytes(&Wire::WebSocket.encode(b"peer"))
        .expect("it is taken");
    Ok(String::from_utf8(client.receive_frame().1).expect("text"))
}

fn engine() -> (Engine, Issuer) {
    let site = Site::new("probe", CONFIG);
    let issuer = Issuer::new();
    issuer.issue(&["localhost"]).write(&site, "front");
    (site.start(), issuer)
}

#[test]
fn behind_nginx_the_peer_is_the_client_whatever_it_writes_itself() {
    let (engine, _issuer) = engine();
    let nginx = Proxy::nginx(&engine);
    let spoofed = "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.8\r\n";
    for headers in ["", spoofed] {
        assert_eq!(nginx.peer(0, 5, headers).as_deref(), Ok("127.0.0.5:0"));
        // One that is not behind the proxy is who it is.
        let mut client = Client::connect_from(&engine, 0, Wire::Raw, [127, 0, 0, 6]);
        let own = format!("127.0.0.6:{}", client.port());
        assert_eq!(peer(&mut client, headers), Ok(own));
    }
    // The client is counted, not the proxy.
    let mut clients: Vec<_> = [7, 7, 8, 9]
        .map(|from| nginx.connect(0, from, Wire::Raw))
        .into();
    for client in &mut clients {
        assert!(peer(client, "").is_ok());
    }
    assert_eq!(nginx.peer(0, 7, spoofed), Err("429".to_owned()));
    clients.clear();
    eventually("there is room again", || nginx.peer(0, 7, "").is_ok());
    engine
        .site()
        .logged(&["session closed", "peer=127.0.0.7:0"]);
}

#[test]
fn behind_nginx_a_client_stays_with_the_worker_of_its_own_address() {
    let (engine, _issuer) = engine();
    let nginx = Proxy::nginx(&engine);
    let worker = |client: &mut Client| {
        assert!(peer(client, "").is_ok());
        client
            .send_bytes(&Wire::WebSocket.encode(b"slot"))
            .expect("it is taken");
        client.receive_frame().1
    };
    let mut seen = std::collections::BTreeSet::new();
    for from in 10..26 {
        let behind = worker(&mut nginx.connect(0, from, Wire::Raw));
        let direct = worker(&mut Client::connect_from(
            &engine,
            0,
            Wire::Raw,
            [127, 0, 0, from],
        ));
        assert_eq!(behind, direct, "127.0.0.{from}");
        seen.insert(behind);
    }
    assert_eq!(seen.len(), 2, "all addresses have the same worker");
}

#[test]
fn behind_nginx_that_ends_tls_the_page_must_be_encrypted() {
    let (engine, issuer) = engine();
    let nginx = Proxy::nginx(&engine);
    let by_tls = |headers: &str| {
        let address = SocketAddr::from(([127, 0, 0, 1], nginx.program.ports[1]));
        let tls = issuer
            .trust()
            .connect(address, "localhost")
            .expect("a handshake");
        let client = Client::over(Stream::Tls(Box::new(tls)), Wire::Raw);
        peer(&mut client.expect("it is open"), headers)
    };
    // The Host of these clients is `localhost`.
    assert!(by_tls("Origin: https://localhost\r\n").is_ok());
    assert_eq!(
        by_tls("Origin: http://localhost\r\n"),
        Err("403".to_owned())
    );
    assert!(nginx.peer(0, 5, "Origin: http://localhost\r\n").is_ok());
    // What a client writes itself changes nothing: nginx replaces it, and without nginx it is ignored.
    let says = "Origin: http://localhost\r\nX-Forwarded-Proto: https\r\n";
    assert!(nginx.peer(0, 5, says).is_ok());
    let mut client = Client::connect_from(&engine, 0, Wire::Raw, [127, 0, 0, 6]);
    assert!(peer(&mut client, says).is_ok());
    // `Forwarded` names the host, too.
    let spoofed =
        "Forwarded: for=203.0.113.8;host=evil.example\r\nX-Forwarded-For: 203.0.113.9\r\n";
    for headers in ["", spoofed] {
        let headers = format!("Origin: https://a.example\r\n{headers}");
        assert_eq!(nginx.peer(2, 5, &headers).as_deref(), Ok("127.0.0.5:0"));
    }
    assert_eq!(
        nginx.peer(2, 5, "Origin: https://internal\r\n"),
        Err("403".to_owned())
    );
    let mut client = Client::connect_from(&engine, 1, Wire::Raw, [127, 0, 0, 6]);
    assert_eq!(
        peer(&mut client, "Forwarded: host=a.example\r\n"),
        Err("421".to_owned())
    );
}

#[test]
fn behind_nginx_a_client_that_begins_a_quote_is_refused() {
    let (engine, _issuer) = engine();
    let nginx = Proxy::nginx(&engine);
    for headers in [
        "Forwarded: x=\"\r\n",
        "Forwarded: for=203.0.113.8;x=\"\\\r\n",
    ] {
        assert_eq!(nginx.peer(2, 5, headers), Err("400".to_owned()));
        // Nobody joins its header with another one here.
        assert_eq!(nginx.peer(0, 5, headers).as_deref(), Ok("127.0.0.5:0"));
    }
}

#[test]
fn behind_haproxy_the_peer_is_the_client_over_both_versions_of_its_protocol() {
    let (engine, _issuer) = engine();
    let haproxy = Proxy::haproxy(&engine);
    for front in 0..3 {
        let mut client = haproxy.connect(front, 5, Wire::LENGTH);
        let own = format!("127.0.0.5:{}", client.port());
        assert_eq!(client.ask("peer"), own);
    }
    let spoofed = "X-Forwarded-For: 203.0.113.9\r\n";
    for headers in ["", spoofed] {
        assert_eq!(haproxy.peer(3, 5, headers).as_deref(), Ok("127.0.0.5:0"));
    }
    // Its health checks are no sessions, and do no harm.
    assert_eq!(engine.status().limit("max_sessions_per_address"), 0);
}
