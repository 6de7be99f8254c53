//! What a worker's virtual machine must do for a test, and the worker around it.

use std::sync::Arc;

use super::exchange::{Ending, Exchange, Seen};
use super::faults::Statuses;
use super::world::{Caller, Phase, SentCall, World};

/// The level of an error in the log, as proxy-wasm numbers them.
const ERROR: u32 = 4;

/// A callback on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    RequestHeaders,
    RequestTrailers,
    ResponseHeaders { end: bool },
    ResponseBody { size: u32, end: bool },
    ResponseTrailers,
}

/// A virtual machine with the filter in it: the library itself, or the module in an interpreter.
pub trait Rig: Sized {
    /// How many times longer than the fastest it takes, for tests that repeat themselves.
    const SLOWER: u64 = 1;
    /// What its host may answer to a call without killing it.
    const STATUSES: Statuses = Statuses::Any;

    fn start(world: &Arc<World>) -> Self;
    /// A new root context and its configuration; a refused one is gone at once.
    fn configure(&mut self, root: u32, configuration: &[u8]) -> bool;
    fn tick(&mut self, root: u32);
    fn call_answered(&mut self, root: u32, token: u32, headers: usize);
    fn delete_root(&mut self, root: u32);
    fn create_stream(&mut self, root: u32, stream: u32);
    fn on(&mut self, stream: u32, event: Event);
    fn delete_stream(&mut self, stream: u32);
    /// What the interpreter has spent so far.
    fn fuel(&self) -> u64 {
        0
    }
}

/// A worker of a proxy: one machine, the newest configuration, and older ones until their last stream
/// has ended.
pub struct Worker<R> {
    pub world: Arc<World>,
    pub rig: R,
    id: u32,
    roots: Vec<Root>,
    last_root: u32,
}

struct Root {
    id: u32,
    streams: u32,
}

/// A stream that has not ended.
#[must_use]
pub struct Open {
    id: u32,
    root: u32,
    pub exchange: Exchange,
}

impl<R: Rig> Worker<R> {
    pub fn start(world: &Arc<World>) -> Self {
        let id = world.new_worker();
        let mut worker = Self {
            world: Arc::clone(world),
            rig: R::start(world),
            id,
            roots: Vec::new(),
            last_root: 0,
        };
        worker.enter(Caller::default());
        worker
    }

    /// A proxy of one worker with this configuration, which must be valid: a bad one is accepted too, without
    /// rollouts.
    pub fn with(configuration: &str) -> Self {
        let mut worker = Self::start(&World::new());
        let accepted = worker.configure(configuration);
        let is_valid = worker.world.state().log.iter().all(|(level, _)| *level < ERROR);
        assert!(accepted && is_valid, "refused: {}", worker.world.take_log(0));
        worker
    }

    /// Loads a configuration, and says whether it was accepted.
    pub fn configure(&mut self, configuration: impl AsRef<[u8]>) -> bool {
        self.last_root += 1;
        let root = self.last_root;
        self.enter(Caller { root, ..Caller::default() });
        let accepted = self.rig.configure(root, configuration.as_ref());
        if accepted {
            self.roots.push(Root { id: root, streams: 0 });
            self.sweep();
        } else {
            self.rig.delete_root(root);
        }
        accepted
    }

    /// Ticks the newest configuration and those that still have streams.
    pub fn tick(&mut self) {
        for at in 0..self.roots.len() {
            let root = self.roots[at].id;
            self.enter(Caller { root, ..Caller::default() });
            self.rig.tick(root);
        }
    }

    /// The time goes by in quarters of a second, with a tick after each.
    pub fn pass(&mut self, millis: u64) {
        let mut left = millis;
        while left > 0 {
            let step = left.min(250);
            self.world.advance(step);
            left -= step;
            self.tick();
        }
    }

    /// Hands over the answer to a call; `None` is one without a status, as after a timeout.
    pub fn answer(&mut self, call: &SentCall, status: Option<u16>) {
        self.answer_with(call, status, b"");
    }

    /// The same, with a body.
    pub fn answer_with(&mut self, call: &SentCall, status: Option<u16>, body: &[u8]) {
        assert_eq!(call.worker, self.id, "the call is another worker's");
        let status = status.map(|status| (b":status".to_vec(), status.to_string().into_bytes()));
        self.world.state().call_answer = status.into_iter().collect();
        self.world.state().call_body = body.to_vec();
        let headers = self.world.state().call_answer.len();
        self.enter(Caller { root: call.root, ..Caller::default() });
        self.rig.call_answered(call.root, call.token, headers);
    }

    /// Whether the configuration that sent `call` is still there to hear the answer.
    pub fn knows(&self, call: &SentCall) -> bool {
        self.roots.iter().any(|root| root.id == call.root)
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// A whole stream.
    pub fn send(&mut self, exchange: Exchange) -> Seen {
        let open = self.begin(exchange);
        self.finish(open)
    }

    /// The request half of a stream.
    pub fn begin(&mut self, exchange: Exchange) -> Open {
        let newest = self.roots.len() - 1;
        self.begin_under(newest, exchange)
    }

    /// The request half of a stream under one of the configurations that are alive, the oldest being 0.
    pub fn begin_under(&mut self, configuration: usize, exchange: Exchange) -> Open {
        let root = self.roots.get_mut(configuration).expect("a configuration that was accepted");
        root.streams += 1;
        let root = root.id;
        let id = self.world.new_stream(exchange.state.clone());
        self.enter(Caller { root, ..Caller::default() });
        self.rig.create_stream(root, id);
        let open = Open { id, root, exchange };
        if !matches!(open.exchange.ending, Ending::NeverBegan) {
            self.on(&open, Event::RequestHeaders);
            if !open.exchange.state.request_trailers.is_empty() {
                self.on(&open, Event::RequestTrailers);
            }
        }
        open
    }

    /// What of an open stream an upstream sees.
    pub fn seen(&self, open: &Open) -> Seen {
        let mut state = self.world.state();
        let stream = state.streams.get_mut(&open.id).expect("an open stream").clone();
        Seen {
            request: stream.request,
            request_trailers: stream.request_trailers,
            response: stream.response,
        }
    }

    /// The answer and the end.
    pub fn finish(&mut self, open: Open) -> Seen {
        self.world.advance(open.exchange.takes);
        if let Ending::Answer(reply) = &open.exchange.ending {
            let mut headers = vec![(b":status".to_vec(), reply.status.to_string().into_bytes())];
            headers.extend(reply.headers.iter().cloned());
            self.stream(&open, |stream| stream.response = headers);
            let bare = !reply.body && reply.trailers.is_empty();
            self.on(&open, Event::ResponseHeaders { end: reply.ended && bare });
            if reply.body {
                self.on(&open, Event::ResponseBody { size: reply.size, end: false });
                if reply.ended && reply.trailers.is_empty() {
                    self.on(&open, Event::ResponseBody { size: 0, end: true });
                }
            }
            if reply.ended && !reply.trailers.is_empty() {
                let trailers = reply.trailers.clone();
                self.stream(&open, |stream| stream.response_trailers = trailers);
                self.on(&open, Event::ResponseTrailers);
            }
        }
        self.end(open)
    }

    /// The end, whatever came before.
    pub fn end(&mut self, open: Open) -> Seen {
        let seen = self.seen(&open);
        self.enter(Caller { root: open.root, stream: Some(open.id), phase: Phase::End, worker: 0 });
        self.rig.delete_stream(open.id);
        let mut state = self.world.state();
        state.streams.remove(&open.id);
        assert!(state.offences.is_empty(), "the filter wrote {:?}", state.offences);
        drop(state);
        let root = self.roots.iter_mut().find(|root| root.id == open.root).expect("its root");
        root.streams -= 1;
        self.sweep();
        seen
    }

    /// One callback on an open stream.
    pub fn on(&mut self, open: &Open, event: Event) {
        let phase = match event {
            Event::RequestHeaders | Event::RequestTrailers => Phase::Request,
            _ => Phase::Response,
        };
        self.enter(Caller { root: open.root, stream: Some(open.id), phase, worker: 0 });
        self.rig.on(open.id, event);
    }

    fn stream(&self, open: &Open, change: impl FnOnce(&mut super::exchange::StreamState)) {
        change(self.world.state().streams.get_mut(&open.id).expect("an open stream"));
    }

    fn enter(&mut self, caller: Caller) {
        self.world.state().caller = Caller { worker: self.id, ..caller };
    }

    /// The proxy drops the newest configuration, which has no stream: it refused the whole listener.
    pub fn drop_newest(&mut self) {
        let root = self.roots.pop().expect("a configuration that was accepted");
        assert_eq!(root.streams, 0, "it has streams");
        self.enter(Caller { root: root.id, ..Caller::default() });
        self.rig.delete_root(root.id);
    }

    /// Older configurations go with their last stream.
    fn sweep(&mut self) {
        let newest = self.last_root();
        let (stay, go) =
            self.roots.drain(..).partition(|root: &Root| root.streams > 0 || root.id == newest);
        self.roots = stay;
        for root in go {
            self.enter(Caller { root: root.id, ..Caller::default() });
            self.rig.delete_root(root.id);
        }
    }

    fn last_root(&self) -> u32 {
        self.roots.last().map_or(0, |root| root.id)
    }
}
