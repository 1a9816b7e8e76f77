//! DNS without the system's resolver.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{self, RData, RecordType};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::name::Name;
use super::resolver::{Answer, Families, Lookup, Lookups, ResolveError, Resolver};
use super::service::{ServiceAnswer, ServiceServer};

/// The most look-ups at once, and again as many that wait. Each running one holds a socket.
const MAX_RUNNING: usize = 512;
/// How long one try of a given server may take: so two servers, each tried twice, fit into a dial's 5 s.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
const TRIES: usize = 2;

/// Resolves names by DNS, with A and AAAA apart and their TTLs known, over UDP, and TCP for long answers.
///
/// It does not block, so a silent server delays no other name. It runs on a thread of its own, which parses what
/// servers send: event loops are spared that, and may come and go. It caches nothing;
/// see [`CachingResolver`](super::CachingResolver). Cloning is cheap; the thread ends with the last clone and look-up.
#[derive(Clone)]
pub struct HickoryResolver {
    questions: mpsc::Sender<Question>,
}

struct Question {
    name: Name,
    wanted: WantedRecords,
}

/// What is asked for, and where the answer goes.
enum WantedRecords {
    Addresses(RecordType, oneshot::Sender<Result<Answer, ResolveError>>),
    Services(oneshot::Sender<Result<ServiceAnswer, ResolveError>>),
}

impl HickoryResolver {
    /// Asks the servers of `/etc/resolv.conf`, with its options and search list, after `/etc/hosts`. Blocks on
    /// those files; fails if they cannot be read, or no thread can be started.
    pub fn from_system() -> io::Result<Self> {
        let (config, options) =
            hickory_resolver::system_conf::read_system_conf().map_err(io::Error::other)?;
        Self::start(config, options)
    }

    /// The same without `/etc/hosts`.
    pub fn from_system_servers() -> io::Result<Self> {
        let (config, mut options) =
            hickory_resolver::system_conf::read_system_conf().map_err(io::Error::other)?;
        options.use_hosts_file = ResolveHosts::Never;
        Self::start(config, options)
    }

    /// Asks these servers, and no hosts file. Fails if there are none or no thread can be started.
    pub fn with_servers(servers: &[SocketAddr]) -> io::Result<Self> {
        if servers.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "name at least one server",
            ));
        }
        let server = |address: &SocketAddr| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.into_iter().map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.collect())
        };
        let servers = servers.iter().map(server).collect();
        let mut options = ResolverOpts::default();
        options.timeout = TRY_TIMEOUT;
        options.attempts = TRIES;
        options.use_hosts_file = ResolveHosts::Never;
        Self::start(
            ResolverConfig::from_parts(None, Vec::new(), servers),
            options,
        )
    }

    fn start(config: ResolverConfig, mut options: ResolverOpts) -> io::Result<Self> {
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        // One cache is enough, and ours says how old an answer is.
        options.cache_size = 0;
        options.max_active_requests = MAX_RUNNING;
        *builder.options_mut() = options;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (questions, asked) = mpsc::channel(MAX_RUNNING);
        thread::Builder::new()
            .name("hickory".into())
            .spawn(move || {
                runtime.block_on(async move {
                    match builder.build() {
                        Ok(resolver) => answer_all(resolver, asked).await,
                        Err(error) => refuse_all(&error, asked).await,
                    }
                });
            })?;
        Ok(Self { questions })
    }

    /// Looks up the servers of a service, as `_http._tcp.example.com`. Cancel-safe, as a look-up of addresses.
    ///
    /// # Errors
    /// As for addresses; [`NotFound`](ResolveError::NotFound) also if the service is decidedly not available.
    pub fn services(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<ServiceAnswer, ResolveError>> + Send + 'static {
        let name = Name::parse(name);
        let this = self.clone();
        async move { this.put(name?, WantedRecords::Services).await }
    }

    fn ask(&self, name: Name, record: RecordType) -> Lookup {
        let this = self.clone();
        Box::pin(async move {
            this.put(name, |answer| WantedRecords::Addresses(record, answer))
                .await
        })
    }

    /// Asks the thread, and waits for its answer.
    async fn put<T>(
        self,
        name: Name,
        wanted: impl FnOnce(oneshot::Sender<Result<T, ResolveError>>) -> WantedRecords,
    ) -> Result<T, ResolveError> {
        let (answer, answered) = oneshot::channel();
        let failed = |reason: &str| ResolveError::Failed {
            name: name.as_str().to_owned(),
            reason: reason.to_owned(),
        };
        let question = Question {
            name: name.clone(),
            wanted: wanted(answer),
        };
        match self.questions.try_send(question) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(ResolveError::Busy {
                    threads: 2 * MAX_RUNNING,
                });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(failed("the resolver's thread has ended"));
            }
        }
        answered
            .await
            .unwrap_or_else(|_| Err(failed("the resolver's thread has ended")))
    }
}

impl Resolver for HickoryResolver {
    fn look_up(&self, name: &str, families: Families) -> Lookups {
        let name = match Name::parse(name) {
            Ok(name) => name,
            Err(error) => return Lookups::ready(Err(error)),
        };
        if let Some(answer) = name.loopback(families) {
            return Lookups::ready(Ok(answer));
        }
        match families {
            Families::Both => Lookups::Apart {
                ipv6: self.ask(name.clone(), RecordType::AAAA),
                ipv4: self.ask(name, RecordType::A),
            },
            Families::Ipv6 => Lookups::Together(self.ask(name, RecordType::AAAA)),
            Families::Ipv4 => Lookups::Together(self.ask(name, RecordType::A)),
        }
    }
}

impl fmt::Debug for HickoryResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HickoryResolver").finish_non_exhaustive()
    }
}

/// The thread's work, until nobody can ask any more.
async fn answer_all(resolver: TokioResolver, mut asked: mpsc::Receiver<Question>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            question = asked.recv(), if running.len() < MAX_RUNNING => {
                let Some(Question { name, wanted }) = question else { return };
                let resolver = resolver.clone();
                running.spawn(async move {
                    match wanted {
                        WantedRecords::Addresses(record, answer) => {
                            give(answer, look_up(&resolver, &name, record)).await;
                        }
                        WantedRecords::Services(answer) => {
                            give(answer, look_up_services(&resolver, &name)).await;
                        }
                    }
                });
            }
            Some(_) = running.join_next() => {}
        }
    }
}

async fn refuse_all(error: &NetError, mut asked: mpsc::Receiver<Question>) {
    while let Some(question) = asked.recv().await {
        let refused = failure(&question.name, error);
        let _ = match question.wanted {
            WantedRecords::Addresses(_, answer) => answer.send(Err(refused)).is_ok(),
            WantedRecords::Services(answer) => answer.send(Err(refused)).is_ok(),
        };
    }
}

/// Gives an answer to a caller, unless it goes before.
async fn give<T>(
    mut answer: oneshot::Sender<Result<T, ResolveError>>,
    looking: impl Future<Output = Result<T, ResolveError>>,
) {
    let outcome = tokio::select! {
        outcome = looking => outcome,
        () = answer.closed() => return,
    };
    let _ = answer.send(outcome);
}

async fn look_up_services(
    resolver: &TokioResolver,
    name: &Name,
) -> Result<ServiceAnswer, ResolveError> {
    let question = rr::Name::from_ascii(name.as_str())
        .map_err(|error| failure(name, &NetError::from(error)))?;
    let lookup = resolver
        .lookup(question, RecordType::SRV)
        .await
        .map_err(|error| failure(name, &error))?;
    let records = lookup.answers();
    let server = |record: &rr::Record| match &record.data {
        // The root as target: the service is decidedly not available.
        RData::SRV(found) if !found.target.is_root() => Some(ServiceServer {
            priority: found.priority,
            weight: found.weight,
            port: found.port,
            host: found.target.to_ascii(),
        }),
        _ => None,
    };
    let servers: Vec<_> = records.iter().filter_map(server).collect();
    let ttl = records.iter().map(|record| record.ttl).min();
    let ttl = ttl.map(|seconds| Duration::from_secs(seconds.into()));
    match servers.is_empty() {
        true => Err(not_found(name, ttl)),
        false => Ok(ServiceAnswer { servers, ttl }),
    }
}

async fn look_up(
    resolver: &TokioResolver,
    name: &Name,
    record: RecordType,
) -> Result<Answer, ResolveError> {
    let question = rr::Name::from_ascii(name.as_str())
        .map_err(|error| failure(name, &NetError::from(error)))?;
    let lookup = resolver
        .lookup(question, record)
        .await
        .map_err(|error| failure(name, &error))?;
    let records = lookup.answers();
    let mut addresses = Vec::new();
    for ip in records.iter().filter_map(|record| record.data.ip_addr()) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    // Also of the aliases on the way: each may change by itself.
    let ttl = records.iter().map(|record| record.ttl).min();
    let ttl = ttl.map(|seconds| Duration::from_secs(seconds.into()));
    match addresses.is_empty() {
        true => Err(not_found(name, ttl)),
        false => Ok(Answer {
            addresses,
            ttl,
            stale: false,
        }),
    }
}

fn failure(name: &Name, error: &NetError) -> ResolveError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none))
            if matches!(
                none.response_code,
                ResponseCode::NXDomain | ResponseCode::NoError
            ) =>
        {
            let ttl = none.negative_ttl;
            not_found(name, ttl.map(|seconds| Duration::from_secs(seconds.into())))
        }
        error => ResolveError::Failed {
            name: name.as_str().to_owned(),
            reason: error.to_string(),
        },
    }
}

fn not_found(name: &Name, ttl: Option<Duration>) -> ResolveError {
    ResolveError::NotFound {
        name: name.as_str().to_owned(),
        ttl,
    }
}
