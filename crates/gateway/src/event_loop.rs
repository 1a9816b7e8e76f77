//! One event loop: all that it owns.

pub(crate) mod accept_gate;
pub(crate) mod acceptor;
pub(crate) mod activity;
pub(crate) mod census;
pub(crate) mod drain;
pub(crate) mod gathering;
pub(crate) mod pace;
pub(crate) mod pressure;

use std::io;
use std::sync::Arc;

use moorline_config::Config;
use moorline_ipc::{Doorbell, Scoreboard};
use moorline_net::tls::server::ServerTls;
use moorline_protocol::flight::FlightLog;
use tokio::sync::mpsc;

use crate::agenda::Agenda;
use crate::clock::Clock;
use crate::commands::{Inbox, Report};
use crate::cx::{Cx, Stop};
use crate::event_loop::accept_gate::AcceptGate;
use crate::event_loop::acceptor::Acceptor;
use crate::event_loop::activity::Activity;
use crate::event_loop::census::Census;
use crate::event_loop::drain::Drain;
use crate::event_loop::gathering::Gathering;
use crate::event_loop::pressure::Pressure;
use crate::features::exchanges::Exchanges;
use crate::features::files::Files;
use crate::features::tasks::Tasks;
use crate::groups::Groups;
use crate::ids::ListenerId;
use crate::memory::Memory;
use crate::poller::Poller;
use crate::processes::Processes;
use crate::processes::dispatch::Turns;
use crate::relay::table::Relays;
use crate::scratch::Scratch;
use crate::session::table::Table;
use crate::shared::Shared;
use crate::sockets::{Socket, Sockets};
use crate::timers::Alarm;
use crate::tools::Tools;
use crate::udp_relay::table::UdpRelays;

/// The parts that a loop is made from.
pub(crate) struct Parts {
    /// The number of the node; 0 without a cluster.
    pub(crate) node: u16,
    pub(crate) index: u8,
    pub(crate) config: Arc<Config>,
    pub(crate) shared: Arc<Shared>,
    /// Wakes it for commands.
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) counters: Scoreboard,
    pub(crate) flight: FlightLog,
    pub(crate) last_serial: u64,
    pub(crate) sockets: Vec<(ListenerId, Socket)>,
    pub(crate) peers: Vec<Inbox>,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    pub(crate) tls: Arc<[Option<ServerTls>]>,
}

/// One event loop. It alone sees all that it owns; a step on a session sees that session and the tools.
pub(crate) struct Loop {
    pub(crate) tools: Tools,
    pub(crate) sessions: Table,
    pub(crate) groups: Groups,
    pub(crate) tasks: Tasks,
    pub(crate) files: Files,
    pub(crate) exchanges: Exchanges,
    pub(crate) relays: Relays,
    pub(crate) udp_relays: UdpRelays,
    pub(crate) acceptor: Acceptor,
    pub(crate) poller: Poller,
    pub(crate) pressure: Pressure,
    pub(crate) drain: Option<Drain>,
    pub(crate) census: Option<Census>,
    /// The timers that run now; empty between turns.
    pub(crate) due: Vec<Alarm>,
    /// It stands still, and another gateway may go on with what it has.
    pub(crate) stands: bool,
    pub(crate) gathering: Gathering,
    pub(crate) activity: Activity,
    /// Turns since a debug build last checked the invariants.
    pub(crate) unchecked_turns: usize,
}

impl Loop {
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let index = usize::from(parts.index);
        // The main thread holds it, and one loop counts it.
        let http = (index == 0).then(|| parts.shared.http_memory.clone());
        let history = (index == 0).then(|| parts.shared.hub.held().clone());
        let slots = usize::from(parts.config.workers.count);
        let tools = Tools {
            agenda: Agenda::default(),
            memory: Memory::new(&parts.config, http, history),
            throttle: Default::default(),
            scratch: Scratch::new(),
            budget: Default::default(),
            processes: Processes::new(slots, Turns::new(index)),
            refusals: Default::default(),
            descriptors: Default::default(),
            cx: Cx {
                index: parts.index,
                config: parts.config,
                maps: Arc::default(),
                servers: Arc::default(),
                tls: Arc::default(),
                shared: parts.shared,
                clock: Clock::new(),
                counters: parts.counters,
                flight: parts.flight,
                peers: parts.peers,
                reports: parts.reports,
                stop: Stop::No,
            },
        };
        let mut this = Self {
            sessions: Table::new(parts.node, parts.index, parts.last_serial),
            groups: Groups::default(),
            tasks: Tasks::default(),
            files: Files::default(),
            exchanges: Exchanges::default(),
            relays: Relays::default(),
            udp_relays: UdpRelays::default(),
            acceptor: Acceptor {
                sockets: Sockets::default(),
                gate: AcceptGate::new(&tools.cx.config.listeners),
            },
            poller: Poller::new(parts.doorbell)?,
            pressure: Pressure::new(),
            drain: None,
            census: None,
            due: Vec::new(),
            stands: false,
            gathering: Gathering::default(),
            activity: Activity::default(),
            unchecked_turns: 0,
            tools,
        };
        this.relays.targets = this.tools.cx.shared.upstreams.targets();
        this.tools.cx.maps = this.relays.targets.maps.clone();
        this.tools.cx.servers = this.relays.targets.servers.clone();
        this.show(parts.tls);
        for (listener, socket) in parts.sockets {
            this.listen(listener, socket)?;
        }
        Ok(this)
    }
}
