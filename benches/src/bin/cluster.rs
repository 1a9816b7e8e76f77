//! What a call between two nodes costs, beside a request and its reply over bare NATS.
//!
//! `cluster compare ROUNDS` starts a NATS server, this program as two engines of a cluster, and as `cluster reply`: a client of NATS that
//! echoes. In turns a worker of the first node calls the second one, and `cluster ask` asks the client. The bytes are the same, and so is the
//! number of calls at a time. All are on CPU 0. The CPU time is that of both sides and of the NATS server.

use std::net::TcpListener;
use std::process::{Child, ExitCode, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use moorline::{App, Context, Message, NoSettings, Request, Response, ServiceCall, Session};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use moorline_benches::Result;
use moorline_benches::figures::{Figures, print};
use moorline_benches::http::Http;
use moorline_benches::load::run;
use moorline_benches::server::{Measured, cpu_time_of, pinned};

/// Bytes of each call and of its answer.
const BYTES: usize = 128;
/// Calls of a turn: a second or so.
const CALLS: usize = 10_000;
const AT_A_TIME: [usize; 2] = [1, 64];
/// Calls before the first turn that is measured.
const WARM_UP: usize = 500;
const ROUTES: &str = "[[listen.route]]\npath = \"/calls/*rest\"\nkind = \"app\"\n";
const START: Duration = Duration::from_secs(10);

/// The engine's app.
struct Caller(Context);

impl App for Caller {
    type Settings = NoSettings;

    async fn start(context: Context, _: NoSettings) -> moorline::Result<Self> {
        Ok(Caller(context))
    }

    async fn message(self: Rc<Self>, _: Session, _: Message) -> moorline::Result {
        Ok(())
    }

    async fn call(self: Rc<Self>, _: Context, call: ServiceCall) -> moorline::Result<Vec<u8>> {
        Ok(call.into_vec())
    }

    /// Makes the calls that the path names, and says how long each took.
    async fn request(self: Rc<Self>, request: Request) -> moorline::Result<Response> {
        let numbers = request.path().trim_start_matches("/calls/");
        let mut words = numbers.split('/').map(str::parse);
        let (Some(Ok(count)), Some(Ok(at_a_time))) = (words.next(), words.next()) else {
            return Ok(Response::new(404));
        };
        let node = self.0.on("b");
        let call = async move || {
            let answer = node.call("echo", [7; BYTES]).await;
            answer.is_ok_and(|answer| answer.len() == BYTES)
        };
        Ok(Response::text(
            timed(count, at_a_time, call).await.to_string(),
        ))
    }
}

/// Runs calls, `at_a_time` at once, and says how long they took.
async fn timed(
    count: usize,
    at_a_time: usize,
    call: impl AsyncFn() -> bool + Clone + 'static,
) -> Value {
    let mut callers = JoinSet::new();
    for _ in 0..at_a_time {
        let call = call.clone();
        callers.spawn_local(async move {
            let mut times = Vec::new();
            for _ in 0..count / at_a_time {
                let began = Instant::now();
                if call().await {
                    times.push(began.elapsed().as_secs_f64() * 1e6);
                }
            }
            times
        });
    }
    let mut times: Vec<f64> = callers.join_all().await.concat();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
    json!({ "answered": times.len(), "p50": at(0.5), "p99": at(0.99) })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let outcome = match words[..] {
        ["reply", address] => run(reply(address)),
        ["ask", address, at_a_time, server, replier] => {
            run(ask(address, at_a_time, [server, replier]))
        }
        ["compare", rounds] => compare(rounds),
        _ => return moorline::run(Caller::start),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Echoes over bare NATS.
async fn reply(address: &str) -> Result {
    let client = async_nats::connect(address).await?;
    let mut requests = client.subscribe("echo").await?;
    while let Some(request) = requests.next().await {
        if let Some(to) = request.reply {
            client.publish(to, request.payload).await?;
        }
    }
    Ok(())
}

/// Asks over bare NATS, and prints how long it took and the CPU time of this process and of these. What comes before the calls is not in it.
async fn ask(address: &str, at_a_time: &str, others: [&str; 2]) -> Result {
    let client = async_nats::connect(address).await?;
    let call = async move || {
        let answer = client.request("echo", vec![7; BYTES].into()).await;
        answer.is_ok_and(|answer| answer.payload.len() == BYTES)
    };
    let processes = [std::process::id(), others[0].parse()?, others[1].parse()?];
    let at_a_time = at_a_time.parse()?;
    timed(WARM_UP, at_a_time, call.clone()).await;
    let before = cpu_times(&processes)?;
    let mut figures = timed(CALLS, at_a_time, call).await;
    figures["cpu"] = json!(spent(&before, &cpu_times(&processes)?));
    println!("{figures}");
    Ok(())
}

fn cpu_times(processes: &[u32]) -> Result<Vec<Duration>> {
    processes.iter().copied().map(cpu_time_of).collect()
}

/// A process that is ended with this.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn node(nats: &str, name: &str, number: u16) -> Result<Measured> {
    Measured::engine(&format!(
        "{ROUTES}[cluster]\nservers = [\"{nats}\"]\nnode = \"{name}\"\nnumber = {number}\n"
    ))
}

fn compare(rounds: &str) -> Result {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("nats://127.0.0.1:{port}");
    let mut server = pinned("nats-server".as_ref());
    server.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    let server = Ends(server.stderr(Stdio::null()).spawn()?);
    let (a, b) = (node(&address, "a", 1)?, node(&address, "b", 2)?);
    let mut replier = pinned(&std::env::current_exe()?);
    let replier = Ends(replier.args(["reply", &address]).spawn()?);
    until_called(&a)?;
    let mut figures = Vec::new();
    for at_a_time in AT_A_TIME {
        let what = format!("call between nodes, {at_a_time} at a time");
        let mut cpu = Figures::new(what.as_str(), "CPU µs / call");
        let mut p50 = Figures::new(format!("{what}, median"), "µs");
        let mut p99 = Figures::new(format!("{what}, 99 %"), "µs");
        for _ in 0..rounds.parse()? {
            called(&a, WARM_UP, at_a_time)?;
            let before = [a.cpu_time()?, b.cpu_time()?, cpu_time_of(server.0.id())?];
            let ours = called(&a, CALLS, at_a_time)?;
            let after = [a.cpu_time()?, b.cpu_time()?, cpu_time_of(server.0.id())?];
            let ours_cpu = spent(&before, &after) / CALLS as f64;

            let bare = asked(&address, at_a_time, [&server, &replier])?;
            let bare_cpu = number(&bare, "cpu")? / CALLS as f64;

            cpu.push(ours_cpu, bare_cpu);
            p50.push(number(&ours, "p50")?, number(&bare, "p50")?);
            p99.push(number(&ours, "p99")?, number(&bare, "p99")?);
        }
        figures.extend([cpu, p50, p99]);
    }
    print(&figures);
    Ok(())
}

/// Microseconds.
fn spent(before: &[Duration], after: &[Duration]) -> f64 {
    let spent = after.iter().sum::<Duration>() - before.iter().sum::<Duration>();
    spent.as_secs_f64() * 1e6
}

fn number(value: &Value, key: &str) -> Result<f64> {
    Ok(value[key].as_f64().ok_or("a number is missing")?)
}

/// Waits until the nodes know each other.
fn until_called(a: &Measured) -> Result {
    let began = Instant::now();
    while called(a, WARM_UP, 1).is_err() {
        if began.elapsed() > START {
            return Err("the second node does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn called(a: &Measured, count: usize, at_a_time: usize) -> Result<Value> {
    let request = format!("GET /calls/{count}/{at_a_time} HTTP/1.1\r\nHost: x\r\n\r\n");
    run(async {
        let mut http = Http::connect(a.address).await?;
        let (_, body) = http.ask(request.as_bytes()).await?;
        whole(body, count, at_a_time)
    })
}

fn asked(address: &str, at_a_time: usize, others: [&Ends; 2]) -> Result<Value> {
    let mut command = pinned(&std::env::current_exe()?);
    command.args(["ask", address, &at_a_time.to_string()]);
    let output = command
        .args(others.map(|it| it.0.id().to_string()))
        .output()?;
    whole(&output.stdout, CALLS, at_a_time)
}

/// Figures of calls that were all answered.
fn whole(bytes: &[u8], count: usize, at_a_time: usize) -> Result<Value> {
    let figures: Value = serde_json::from_slice(bytes)?;
    let expected = count / at_a_time * at_a_time;
    match figures["answered"].as_u64() {
        Some(answered) if answered as usize == expected => Ok(figures),
        answered => Err(format!("{answered:?} of {expected} calls were answered").into()),
    }
}
