//! Maps, compared with those of nginx.

use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use moorline_tests::{Engine, Outsider, PATIENCE, Random, Site, eventually};

use super::connect;

/// Maps as nginx writes them and as we do. Each looks up `$key`.
const MAPS: &[(&str, &str)] = &[
    (
        r#"map $key $m0 { hostnames; default none; example.com exact; *.example.com below; .dom.org domain;
           www.* begin; *.a.b ab; *.b b; a.b.* abx; a.* ax; "" empty; "~^(?<x>[a-z]+)\d+\.test$" "named $x";
           "~*^UP(.)" "first $1"; "~p(.)(.)?$" "last $2$1"; "two words" two; }"#,
        r#"[map.m0]
           from = "${set.key}"
           hostnames = true
           default = "none"
           values = { "example.com" = "exact", "*.example.com" = "below", ".dom.org" = "domain", "www.*" = "begin",
             "*.a.b" = "ab", "*.b" = "b", "a.b.*" = "abx", "a.*" = "ax", "" = "empty",
             '~^(?<x>[a-z]+)\d+\.test$' = "named ${x}", "~*^UP(.)" = "first ${1}", "~p(.)(.)?$" = "last ${2}${1}",
             "two words" = "two" }"#,
    ),
    (
        r#"map $key $m1 { example.com exact; *.b star; "\~tilde" tilde; volatile; "~*\.COM$" "com $m0"; }"#,
        r#"[map.m1]
           from = "${set.key}"
           values = { "example.com" = "exact", "*.b" = "star", '\~tilde' = "tilde", '~*\.COM$' = "com ${map.m0}" }"#,
    ),
    (
        r#"map "$m0-$m1" $m2 { "exact-exact" both; default "$key"; }"#,
        r#"[map.m2]
           from = "${map.m0}-${map.m1}"
           default = "${set.key}"
           values = { "exact-exact" = "both" }"#,
    ),
    (
        r#"geo $key $m3 { default far; 10.0.0.0/8 ten; 10.1.0.0/16 ten-one; 10.1.2.3 one; 0.0.0.0/1 low; 2001:db8::/32 doc;
           2001:db8:1::/48 doc-one; ::1 me; }"#,
        r#"[map.m3]
           kind = "network"
           from = "${set.key}"
           default = "far"
           values = { "10.0.0.0/8" = "ten", "10.1.0.0/16" = "ten-one", "10.1.2.3" = "one", "0.0.0.0/1" = "low",
             "2001:db8::/32" = "doc", "2001:db8:1::/48" = "doc-one", "::1" = "me" }"#,
    ),
    (
        r#"geo $key $m4 { ranges; default far; 10.0.0.0-10.255.255.255 ten; 10.0.0.5-10.0.1.7 some; 10.0.0.6-10.0.0.6 one;
           200.0.0.0-200.0.0.0 zero; }"#,
        r#"[map.m4]
           kind = "network"
           from = "${set.key}"
           default = "far"
           values = { "10.0.0.0-10.255.255.255" = "ten", "10.0.0.5-10.0.1.7" = "some", "10.0.0.6-10.0.0.6" = "one",
             "200.0.0.0-200.0.0.0" = "zero" }"#,
    ),
    (
        r#"split_clients "$key" $m5 { 0.5% a; 20% b; 20% c; 33.33% d; * e; }"#,
        r#"[map.m5]
           kind = "share"
           from = "${set.key}"
           values = [["0.5%", "a"], ["20%", "b"], ["20%", "c"], ["33.33%", "d"], ["*", "e"]]"#,
    ),
    (
        r#"split_clients "${key}x" $m6 { 50% a; 25% b; }"#,
        r#"[map.m6]
           kind = "share"
           from = "${set.key}x"
           values = { "50%" = "a", "25%" = "b" }"#,
    ),
];

/// Keys that are looked up, apart from random ones.
const KEYS: &str = ". .. example.com EXAMPLE.com a.example.com A.b.Example.Com example.com. .example.com xexample.com dom.org \
    x.dom.org xdom.org www www. www.foo WWW.foo.bar wwwx.foo abc12.test ABC12.test abc.test upX UPx up ~tilde \
    x.a.b a.b a.b.c a.c x.b tip tipx 10.1.2.3 10.1.2.4 10.2.0.1 9.9.9.9 127.255.255.255 128.0.0.0 200.0.0.0 \
    200.0.0.1 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 10.0.1.7 10.0.1.8 10.255.255.255 11.0.0.0 ::1 ::2 2001:db8:: \
    2001:db8:1::5 2001:db9:: ::ffff:10.1.2.3 unix: 10.1.2.3. 10.1";

/// Keys that are looked up.
fn keys() -> Vec<String> {
    let written = KEYS.split(' ').chain(["", "two words"]);
    let mut keys: Vec<_> = written.map(str::to_owned).collect();
    let mut random = Random::new();
    let labels = [
        "a", "b", "www", "example", "com", "dom", "org", "x1", "up", "test",
    ];
    for _ in 0..60 {
        let count = 1 + random.within(0..4);
        let parts: Vec<_> = (0..count)
            .map(|_| labels[random.within(0..labels.len())])
            .collect();
        keys.push(parts.join("."));
    }
    for _ in 0..60 {
        let byte = |random: &mut Random| random.within(0..256);
        let address = [
            10,
            byte(&mut random) % 3,
            byte(&mut random) % 3,
            byte(&mut random),
        ];
        keys.push(address.map(|it| it.to_string()).join("."));
    }
    keys
}

/// What a server on this socket says at once.
fn said(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("a text comes");
    said
}

#[test]
fn maps_have_the_values_of_nginx() {
    let keys = keys();
    let mut theirs = String::from(
        "load_module modules/ngx_stream_module.so; daemon off; master_process off; pid FOLDER/nginx.pid;\n\
         error_log FOLDER/nginx.log; events {}\nstream {\n",
    );
    let mut ours = String::from("[workers]\ncount = 1\n");
    for (map, _) in MAPS {
        writeln!(theirs, "{map}").expect("a string takes it");
    }
    let all = |sign: fn(usize) -> String| (0..MAPS.len()).map(sign).collect::<Vec<_>>().join("|");
    let (values, same) = (
        all(|at| format!("$m{at}")),
        all(|at| format!("${{map.m{at}}}")),
    );
    for (at, key) in keys.iter().enumerate() {
        writeln!(
            theirs,
            "server {{ listen unix:FOLDER/n{at}; set $key \"{key}\"; return \"[{values}]\"; }}"
        )
        .expect("a string takes it");
        writeln!(
            ours,
            "[[listen]]\naddress = \"unix://m{at}\"\nset = {{ key = {key:?} }}\nreturn = \"[{same}]\""
        )
        .expect("a string takes it");
    }
    for (_, map) in MAPS {
        writeln!(ours, "{map}").expect("a string takes it");
    }
    theirs.push('}');
    let site = Site::new("moorline", &ours);
    let _nginx = Outsider::start(&site, "nginx", &["-c"], &theirs, 0);
    let last = site.path(&format!("n{}", keys.len() - 1));
    eventually("nginx accepts", || UnixStream::connect(&last).is_ok());
    let _engine = site.start();
    for (at, key) in keys.iter().enumerate() {
        let theirs = said(&site.path(&format!("n{at}")));
        let ours = said(&site.path(&format!("m{at}")));
        assert_eq!(ours, theirs, "of {key:?}");
    }
}

#[test]
fn a_reload_changes_maps_for_new_connections() {
    let config = |value: &str| {
        format!(
            "[workers]\ncount = 1\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"${{map.one}}\"\n\
             [map.one]\nfrom = \"${{client.address}}\"\ndefault = \"{value} ${{map.two}}\"\nvalues = {{}}\n\
             [map.two]\nkind = \"network\"\ndefault = \"far\"\nvalues = {{ \"127.0.0.0/8\" = \"near\" }}\n"
        )
    };
    let engine = Engine::start("moorline", &config("old"));
    let said = || {
        let mut said = String::new();
        connect(&engine)
            .read_to_string(&mut said)
            .expect("a text comes");
        said
    };
    assert_eq!(said(), "old near");
    engine.configure(&config("new"));
    engine.reload().expect_success();
    assert_eq!(said(), "new near");
    engine.configure(&config("new").replace("${map.two}", "${map.three}"));
    let refused = engine.reload();
    assert!(
        refused.stderr.contains("there is no map \"three\""),
        "{}",
        refused.stderr
    );
    assert_eq!(said(), "new near");
}
