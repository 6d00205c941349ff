//! A worker of a node: what the gateway's decides, with clients that have no sockets.
//!
//! A step of it is what its tasks do until each of them waits, in an order that is drawn: the readers
//! of its connections, the fan-out, and the answers that are awaited. What would pause, since it
//! takes long, does so as it is drawn, too.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use fanfare_broker::{Backlog, Frame, Hub, Members, Outbox, Overflow, Post, RoomKey, Roster};
use fanfare_gateway::auth::{Credential, Grants, Rules};
use fanfare_gateway::dispatch::turn::{MOST, Turn};
use fanfare_gateway::dispatch::{
    self, Counted, Endpoint as _, Errands, Hearing, Host, Near, Next, Outlet,
};
use fanfare_gateway::door::Door;
use fanfare_gateway::hook::Hooks;
use fanfare_gateway::session::{Session, Surroundings};
use fanfare_shared::code::CloseCode;
use fanfare_shared::config::{Limits, SlowConsumer};
use fanfare_shared::{ClientId, Identity, Publication};
use fastrand::Rng;
use slab::Slab;

use super::connection::Connection;
use super::wire::GRANTING;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What all workers of a node have.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) hub: Arc<Hub>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
    pub(crate) door: Arc<dyn Door>,
}

pub(crate) struct Worker {
    index: usize,
    shared: Shared,
    anonymous: Arc<Identity>,
    connections: RefCell<Slab<Rc<Connection>>>,
    members: RefCell<Members<usize>>,
    backlog: Backlog,
    turn: Turn,
    hearing: Hearing,
    rng: RefCell<Rng>,
    /// Whether a batch of posts is under way.
    in_batch: Cell<bool>,
    fan_out: RefCell<Task>,
    tasks: RefCell<Vec<Task>>,
    this: Weak<Self>,
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Shared, rng: Rng) -> Rc<Self> {
        Rc::new_cyclic(|this: &Weak<Self>| {
            let fanning = this.clone();
            Self {
                index,
                shared,
                anonymous: Arc::default(),
                connections: RefCell::default(),
                members: RefCell::default(),
                backlog: Backlog::default(),
                turn: Turn::default(),
                hearing: Hearing::new(false),
                rng: RefCell::new(rng),
                in_batch: Cell::new(false),
                fan_out: RefCell::new(Box::pin(async move {
                    let worker = fanning.upgrade().expect("polled by it");
                    dispatch::fan_out(&*worker).await;
                })),
                tasks: RefCell::default(),
                this: this.clone(),
            }
        })
    }

    /// Takes up a client, whose token grants every join.
    pub(crate) fn open(&self, client: ClientId) -> Rc<Connection> {
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let session = Session::new(Some(Arc::new(credential(true))));
        let connection = Connection::new(client, entry.key(), &self.shared.door, session);
        Rc::clone(entry.insert(Rc::new(connection)))
    }

    /// Whether nobody is connected, and so nobody in a room.
    pub(crate) fn is_empty(&self) -> bool {
        let is_empty = self.connections.borrow().is_empty();
        assert!(!is_empty || self.members.borrow().is_empty());
        is_empty
    }

    /// Whether it has done all that the hub has for it.
    pub(crate) fn is_idle(&self) -> bool {
        self.inbox().is_empty() && !self.in_batch.get()
    }

    /// Lets each task go on until it waits.
    pub(crate) fn step(&self) {
        if self.draw(4) == 0 {
            // What was done before is a part of the turn, or all of it.
            let spent = self.draw(MOST + 1);
            self.turn.charge(spent);
        }
        let fan_out_first = self.draw(2) == 0;
        if fan_out_first {
            self.step_fan_out();
        }
        let slots = self.connections.borrow();
        let connections: Vec<_> = slots.iter().map(|(_, one)| Rc::clone(one)).collect();
        drop(slots);
        for connection in &connections {
            self.read(connection);
        }
        if !fan_out_first {
            self.step_fan_out();
        }
        self.step_tasks();
        if self.draw(2) == 0 {
            self.write();
        }
    }

    fn step_fan_out(&self) {
        if !self.inbox().is_empty() {
            self.in_batch.set(true);
            self.order_posts();
        }
        let polled = poll(self.fan_out.borrow_mut().as_mut());
        assert!(polled.is_pending(), "a fan-out never ends");
    }

    /// Puts what the hub has in an order of the rooms that is drawn: that in which a hub goes through
    /// its rooms is another in each run.
    fn order_posts(&self) {
        let mut posts = Vec::new();
        let taken = poll(pin!(self.inbox().take(&mut posts)));
        assert!(taken.is_ready(), "there are some");
        let is_ascending = self.draw(2) == 0;
        posts.sort_by(|one, other| match is_ascending {
            true => room(one).cmp(room(other)),
            false => room(other).cmp(room(one)),
        });
        posts.into_iter().for_each(|post| self.inbox().push(post));
    }

    fn step_tasks(&self) {
        let mut tasks = self.tasks.take();
        tasks.retain_mut(|task| poll(task.as_mut()).is_pending());
        self.tasks.borrow_mut().append(&mut tasks);
    }

    /// Takes what a client sent, until the session has to wait.
    fn read(&self, connection: &Rc<Connection>) {
        if connection.gone.get() {
            return self.end(connection);
        }
        if !connection.may_read() {
            return;
        }
        let mut at = connection.at.take();
        loop {
            let message = connection.inbound.borrow_mut().pop_front();
            let Some(message) = message else { return };
            if dispatch::take(self, connection, &message, &mut at) == Next::Wait {
                connection.inbound.borrow_mut().push_front(message);
                if !dispatch::is_ready(self, connection) {
                    connection.at.set(at);
                    connection.wait();
                    return;
                }
            } else {
                at = 0;
            }
        }
    }

    /// Lets go of a connection that has ended.
    fn end(&self, connection: &Connection) {
        connection.shut(0);
        dispatch::leave_all(self, connection);
        self.connections.borrow_mut().remove(connection.slot());
    }

    /// Writes what waits for anybody.
    pub(crate) fn write(&self) {
        for (_, connection) in &*self.connections.borrow() {
            connection.flush();
        }
    }

    /// Goes away in the middle of whatever it does.
    pub(crate) fn crash(&self) {
        self.tasks.take();
        drop(self.fan_out.replace(Box::pin(async {})));
    }

    fn draw(&self, below: usize) -> usize {
        self.rng.borrow_mut().usize(..below)
    }

    /// Takes some steps for something.
    async fn take_long(&self) {
        for _ in 0..self.draw(4) {
            let mut is_first = true;
            poll_fn(|_| match std::mem::take(&mut is_first) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            })
            .await;
        }
    }
}

/// Nobody is woken: everything is looked at in each step.
fn poll(task: Pin<&mut (impl Future<Output = ()> + ?Sized)>) -> Poll<()> {
    task.poll(&mut Context::from_waker(Waker::noop()))
}

/// What a token says that grants joins, or nothing.
fn credential(grants_joins: bool) -> Credential {
    let mut claim = serde_json::Map::new();
    if grants_joins {
        claim.insert("*".to_owned(), serde_json::json!(["join"]));
    }
    Credential {
        identity: Arc::default(),
        grants: Grants::read(&claim, None).expect("a good claim"),
        auto: Vec::new(),
        expires: u64::MAX,
        issued: None,
        id: None,
    }
}

/// Which room a post is of; the first of all for what is of none.
fn room(post: &Post) -> &str {
    match post {
        Post::Publication { delivery, .. } => delivery.publication().room.as_str(),
        Post::Joined { name, .. } | Post::Refused { name, .. } | Post::Reset { name, .. } => {
            name.as_str()
        }
        Post::Settled { .. } | Post::Notice { .. } => "",
    }
}

impl Outlet for Worker {
    type Endpoint = Connection;

    fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    fn takes_at_once(&self, connection: &Connection) -> bool {
        connection.takes_at_once()
    }

    fn write_at_once(&self, near: &mut [Near<'_, Connection>]) {
        let takers = near.iter_mut().filter(|member| member.takes_at_once);
        for member in takers.filter(|member| !member.endpoint.stuck.get()) {
            let len = member.frame.len();
            member.written = [0, self.draw(len), len, len][self.draw(4)];
            let mut received = member.endpoint.received.borrow_mut();
            received.extend_from_slice(&member.frame[..member.written]);
        }
    }

    fn append(
        &self,
        connection: &Rc<Connection>,
        frame: &Frame,
        written: usize,
        room: RoomKey,
        rule: SlowConsumer,
    ) -> bool {
        assert_eq!(rule, SlowConsumer::Disconnect, "no room has another rule");
        assert!(connection.is_open(), "a publication after the last word");
        if self.draw(8) == 0 {
            let spent = self.draw(MOST);
            self.turn.charge(spent);
        }
        let bound = self.shared.limits.outbox_bytes;
        let push = |outbox: &mut Outbox| outbox.push_publication(frame.clone(), room, bound);
        let is_pushed = push_or_write(connection, push);
        if is_pushed {
            connection.outbox.borrow_mut().advance(written);
        }
        is_pushed
    }

    fn enqueue(&self, connection: &Rc<Connection>, frame: Bytes) {
        if !connection.is_open() {
            return;
        }
        let (frame, bound) = (self.backlog.frame(frame), self.shared.limits.outbox_bytes);
        if !push_or_write(connection, |outbox| outbox.push(frame.clone(), bound)) {
            dispatch::close_slow(self, connection);
        }
    }

    fn close(&self, connection: &Rc<Connection>, code: CloseCode, reason: &str) {
        assert_eq!(code, CloseCode::SlowConsumer, "{reason}");
        if connection.shut(self.draw(10)) {
            dispatch::leave_all(self, &**connection);
        }
    }

    async fn flush(&self) {
        self.in_batch.set(false);
        self.write();
    }

    fn count(&self, _: Counted<'_>) {}
}

/// Appends to an outbox; where that is full, once more when it was written.
fn push_or_write(
    connection: &Connection,
    push: impl Fn(&mut Outbox) -> Result<(), Overflow>,
) -> bool {
    let mut pushed = push(&mut connection.outbox.borrow_mut());
    if pushed.is_err() {
        connection.flush();
        pushed = push(&mut connection.outbox.borrow_mut());
    }
    pushed.is_ok()
}

impl Errands for Worker {
    async fn encode(
        &self,
        messages: Vec<Arc<Publication>>,
        encode: impl FnOnce(&[Arc<Publication>]) -> Option<Bytes> + Send + 'static,
    ) -> Option<Bytes> {
        self.take_long().await;
        encode(&messages)
    }

    async fn encode_in_turn(
        &self,
        messages: Vec<Arc<Publication>>,
        encode: impl FnOnce(&[Arc<Publication>]) -> Option<Bytes> + Send + 'static,
    ) -> Option<Bytes> {
        self.encode(messages, encode).await
    }

    fn authenticate(&self, connection: &Rc<Connection>, id: Option<u64>, token: &str) {
        let checked = Ok(credential(token == GRANTING));
        if self.draw(2) == 0 {
            return dispatch::renew(self, connection, id, checked);
        }
        // Its key has to be fetched.
        let worker = self.share();
        let check = async move {
            worker.take_long().await;
            checked
        };
        dispatch::renew_later(self, connection, id, check);
    }

    fn claim_user(&self, _: &Rc<Connection>, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn share(&self) -> Rc<Self> {
        self.this.upgrade().expect("it is in use")
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(Box::pin(task));
    }
}

impl Host for Worker {
    fn index(&self) -> usize {
        self.index
    }

    fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    fn roster(&self) -> &Roster {
        &self.shared.roster
    }

    fn hooks(&self) -> Option<&Arc<Hooks>> {
        None
    }

    fn anonymous(&self) -> &Arc<Identity> {
        &self.anonymous
    }

    fn connections(&self) -> &RefCell<Slab<Rc<Connection>>> {
        &self.connections
    }

    fn members(&self) -> &RefCell<Members<usize>> {
        &self.members
    }

    fn around<'a>(&'a self, connection: &'a Rc<Connection>) -> impl Surroundings + 'a {
        Around {
            worker: self,
            connection,
        }
    }

    fn turn(&self) -> &Turn {
        &self.turn
    }

    fn hearing(&self) -> &Hearing {
        &self.hearing
    }
}

struct Around<'a> {
    worker: &'a Worker,
    connection: &'a Connection,
}

impl Surroundings for Around<'_> {
    fn limits(&self) -> &Limits {
        &self.worker.shared.limits
    }

    fn rules(&self) -> &Rules {
        &self.worker.shared.rules
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn is_written(&self) -> bool {
        self.connection.is_written()
    }
}
