//! What a session takes and what it asks for, with nothing around it.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use fanfare_broker::{Members, Replay};
use fanfare_shared::code::{CloseCode, ErrorCode};
use fanfare_shared::codec::decode_json;
use fanfare_shared::config::{Access, Config, Limits, RoomPattern};
use fanfare_shared::{Data, Encoding, Epoch};
use serde_json::json;

use super::*;
use crate::auth::Grants;

/// A node's rules and limits; what was told is written unless a test says otherwise.
struct Node {
    limits: Limits,
    rules: Rules,
    now: Cell<Instant>,
    is_written: Cell<bool>,
}

impl Surroundings for Node {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn rules(&self) -> &Rules {
        &self.rules
    }

    fn now(&self) -> Instant {
        self.now.get()
    }

    fn is_written(&self) -> bool {
        self.is_written.get()
    }
}

/// A node where `publish` says who may publish into rooms called `news`.
fn node_with(publish: Access) -> Node {
    node_of(RoomRule {
        r#match: RoomPattern::new("news*").unwrap(),
        presence: false,
        publish,
        ..RoomRule::default()
    })
}

/// A node with one rule.
fn node_of(rule: RoomRule) -> Node {
    let config = Config {
        rooms: vec![rule],
        ..Config::default()
    };
    Node {
        rules: Rules::new(&config),
        limits: config.limits,
        now: Cell::new(Instant::now()),
        is_written: Cell::new(true),
    }
}

fn node() -> Node {
    node_with(Access::Members)
}

fn request(text: &str) -> Incoming<'_> {
    match decode_json(text) {
        Ok(request) => Incoming::Request(request),
        Err(error) => Incoming::Malformed(error),
    }
}

impl Session {
    /// What it asks for; `None` if it has to wait.
    fn ask<'a>(&mut self, text: &'a str, node: &Node) -> Option<Effect<'a>> {
        match self.take(request(text), node) {
            Taken::Do(effect) => Some(effect),
            Taken::Wait => None,
        }
    }

    fn refusal(&mut self, text: &str, node: &Node) -> ErrorCode {
        match self.ask(text, node) {
            Some(Effect::Refuse { refusal, .. }) => refusal.code,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// Joins a room and has it answered.
    fn enter(&mut self, room: &str, node: &Node) {
        let text = format!(r#"{{"type":"join","room":"{room}"}}"#);
        assert!(matches!(self.ask(&text, node), Some(Effect::Join { .. })));
        self.is_answered(room);
    }

    fn is_answered(&mut self, room: &str) {
        let name = RoomName::new(room).unwrap();
        let key = RoomKey(NonZeroU64::new(1 + self.rooms.len() as u64).unwrap());
        let rule = self.joined(&name).expect("a join under way");
        let slot = Members::<usize>::default().add(key, &name, rule.slow_consumer, 0);
        self.add(Membership {
            name,
            rule,
            room: key,
            slot,
            by_server: false,
        });
    }
}

const JOIN: &str = r#"{"type":"join","id":1,"room":"a"}"#;
const LEAVE: &str = r#"{"type":"leave","id":2,"room":"a"}"#;
const PUBLISH: &str = r#"{"type":"publish","id":3,"room":"a","data":1}"#;
const NEWS: &str = r#"{"type":"publish","id":3,"room":"news","data":1}"#;
const HISTORY: &str = r#"{"type":"history","id":4,"room":"a"}"#;
const PING: &str = r#"{"type":"ping","id":5}"#;

#[test]
fn each_command_asks_for_one_thing() {
    let (mut session, node) = (Session::default(), node());
    assert!(matches!(
        session.ask(JOIN, &node),
        Some(Effect::Join { id: Some(1), announced: true, join }) if join.replay() == Replay::None
    ));
    session.is_answered("a");
    let Some(Effect::Publish { publish, id }) = session.ask(PUBLISH, &node) else {
        panic!("nothing is published");
    };
    assert_eq!(
        (publish.room().as_str(), publish.draft().data.bytes, id),
        ("a", &b"1"[..], Some(3))
    );
    assert!(matches!(
        session.ask(HISTORY, &node),
        Some(Effect::History { id: Some(4), .. })
    ));
    assert!(matches!(
        session.ask(PING, &node),
        Some(Effect::Pong { id: Some(5) })
    ));
    assert!(matches!(
        session.ask(LEAVE, &node),
        Some(Effect::Leave { id: Some(2), .. })
    ));
    assert_eq!(session.refusal(LEAVE, &node), ErrorCode::NotJoined);
}

#[test]
fn what_concerns_a_room_waits_for_its_join_and_the_rest_does_not() {
    let (mut session, node) = (Session::default(), node());
    session.ask(JOIN, &node).unwrap();
    assert!(matches!(
        session.ask(PING, &node),
        Some(Effect::Pong { .. })
    ));
    for text in [LEAVE, PUBLISH, JOIN] {
        assert!(session.ask(text, &node).is_none(), "{text}");
        assert!(!session.is_ready(&node), "{text}");
        assert!(session.ask(PING, &node).is_none(), "in order behind {text}");
        session.awaited = None;
    }
    session.ask(PUBLISH, &node);
    session.is_answered("a");
    assert!(session.is_ready(&node));
    assert!(matches!(
        session.ask(PUBLISH, &node),
        Some(Effect::Publish { .. })
    ));
}

#[test]
fn a_large_answer_waits_until_all_before_it_is_answered_and_written() {
    let (mut session, node) = (Session::default(), node());
    session.begin();
    assert!(session.ask(HISTORY, &node).is_none());
    session.end();
    node.is_written.set(false);
    assert!(!session.is_ready(&node));
    node.is_written.set(true);
    assert!(session.is_ready(&node));
    assert!(session.ask(HISTORY, &node).is_some());
}

#[test]
fn commands_under_way_are_bounded() {
    let (mut session, mut node) = (Session::default(), node());
    node.limits.inflight_commands = 2;
    session.begin();
    assert!(session.ask(PING, &node).is_some());
    session.begin();
    assert!(session.ask(PING, &node).is_none());
    session.end();
    assert!(session.ask(PING, &node).is_some());
}

#[test]
fn rooms_and_new_rooms_are_bounded() {
    let (mut session, mut node) = (Session::default(), node_with(Access::Anyone));
    node.limits.rooms_per_connection = 2;
    node.limits.new_rooms = 3;
    session.enter("a", &node);
    session.enter("b", &node);
    let third = r#"{"type":"join","room":"c"}"#;
    assert_eq!(session.refusal(third, &node), ErrorCode::RoomLimit);
    session.ask(LEAVE, &node).unwrap();
    session.enter("c", &node);
    session
        .ask(r#"{"type":"leave","room":"c"}"#, &node)
        .unwrap();
    assert_eq!(session.refusal(JOIN, &node), ErrorCode::RateLimited);
    assert_eq!(session.refusal(NEWS, &node), ErrorCode::RateLimited);
    node.now.set(node.now.get() + Duration::from_secs(20));
    let position = Position {
        epoch: Epoch::from_bits(1),
        offset: 1,
    };
    assert!(session.ask(NEWS, &node).is_some());
    session.published(Some(position), &node);
    assert_eq!(
        session.refusal(NEWS, &node),
        ErrorCode::RateLimited,
        "it began a log"
    );
}

#[test]
fn a_join_reads_the_newest_messages_as_a_member() {
    let read_by = |read| {
        let mut rule = RoomRule::default();
        rule.history.read = read;
        node_of(rule)
    };
    let (mut session, node) = (Session::default(), read_by(Access::Members));
    assert_eq!(session.refusal(HISTORY, &node), ErrorCode::NotJoined);
    let join = r#"{"type":"join","room":"a","history":10}"#;
    let Some(Effect::Join { join, .. }) = session.ask(join, &node) else {
        panic!("it is not joined");
    };
    assert_eq!(join.replay(), Replay::Newest(10));
    let (mut session, node) = (Session::default(), read_by(Access::Server));
    let join = r#"{"type":"join","room":"b","history":10}"#;
    assert_eq!(session.refusal(join, &node), ErrorCode::Forbidden);
}

#[test]
fn malformed_commands_in_a_row_end_the_connection() {
    let (mut session, mut node) = (Session::default(), node());
    node.limits.bad_commands = 3;
    for last in [false, false] {
        let effect = session.ask("{", &node);
        assert!(matches!(effect, Some(Effect::Refuse { close, .. }) if close.is_some() == last));
    }
    session.ask(PING, &node).unwrap();
    for last in [false, false, true] {
        let effect = session.ask("{", &node);
        assert!(matches!(effect, Some(Effect::Refuse { close, .. }) if close.is_some() == last));
    }
}

#[test]
fn a_membership_keeps_the_rule_of_its_room() {
    let node = node_with(Access::Server);
    let mut session = Session::default();
    session.enter("news:a", &node);
    assert!(Arc::ptr_eq(&session.rooms[0].rule, node.rules.of("news:b")));
    let publish = r#"{"type":"publish","room":"news:a","data":1}"#;
    assert_eq!(session.refusal(publish, &node), ErrorCode::Forbidden);
    let presence = r#"{"type":"presence","room":"news:a"}"#;
    assert_eq!(session.refusal(presence, &node), ErrorCode::Forbidden);
    let elsewhere = r#"{"type":"presence","room":"a"}"#;
    assert!(session.ask(elsewhere, &node).is_some());
}

#[test]
fn a_message_goes_into_the_one_room_or_waits_for_it() {
    let node = node_with(Access::Server);
    let message = || Incoming::Message {
        data: Data {
            encoding: Encoding::Text,
            bytes: b"hi",
        },
        echo: true,
    };
    let mut session = Session::default();
    let effect = session.join_at_once(RoomName::new("a").unwrap(), false, &node);
    assert!(matches!(
        effect,
        Effect::Join {
            announced: false,
            ..
        }
    ));
    assert!(matches!(session.take(message(), &node), Taken::Wait));
    session.is_answered("a");
    assert!(matches!(
        session.take(message(), &node),
        Taken::Do(Effect::Publish { publish, id: None }) if publish.draft().echo
    ));
    let mut session = Session::default();
    session.join_at_once(RoomName::new("news").unwrap(), false, &node);
    session.is_answered("news");
    assert!(matches!(
        session.take(message(), &node),
        Taken::Do(Effect::Close {
            code: CloseCode::Forbidden,
            ..
        })
    ));
}

/// What a token of a user says that grants these rooms to be joined.
fn token(user: &str, rooms: &[&str]) -> Arc<Credential> {
    let rooms = rooms
        .iter()
        .map(|room| ((*room).to_owned(), json!(["join"])));
    Arc::new(Credential {
        identity: Arc::new(Identity {
            user: Some(user.into()),
            info: None,
        }),
        grants: Grants::read(&rooms.collect(), Some(user)).unwrap(),
        auto: Vec::new(),
        expires: 0,
        issued: None,
        id: None,
    })
}

/// A node where joining needs a grant.
fn keyed() -> Node {
    let rule = RoomRule {
        join: Access::Grant,
        ..RoomRule::default()
    };
    let mut node = node();
    node.rules = Rules::new(&Config {
        rooms: vec![rule],
        ..Config::default()
    });
    node
}

#[test]
fn what_the_next_token_does_not_grant_is_left() {
    let node = keyed();
    let mut session = Session::new(Some(token("ann", &["a", "b"])));
    session.enter("a", &node);
    session.enter("b", &node);
    let elsewhere = r#"{"type":"join","room":"c"}"#;
    assert_eq!(session.refusal(elsewhere, &node), ErrorCode::Forbidden);
    let left = session.renew(token("ann", &["b", "c"])).unwrap();
    let left: Vec<_> = left.iter().map(|room| room.name.as_str()).collect();
    assert_eq!(left, ["a"]);
    assert_eq!(session.rooms().count(), 1);
    assert!(session.ask(elsewhere, &node).is_some());
}

#[test]
fn a_join_under_way_is_looked_at_again_when_it_is_answered() {
    let node = keyed();
    let mut session = Session::new(Some(token("ann", &["a", "b"])));
    for room in [
        r#"{"type":"join","room":"a"}"#,
        r#"{"type":"join","room":"b"}"#,
    ] {
        assert!(session.ask(room, &node).is_some());
    }
    session.renew(token("ann", &["b"])).unwrap();
    let name = |room| RoomName::new(room).unwrap();
    let refusal = session.revoked(&name("a")).unwrap();
    assert_eq!(refusal.code, ErrorCode::Forbidden);
    assert_eq!(session.revoked(&name("b")), None);
    assert!(
        session.joined(&name("a")).is_none(),
        "it is no longer under way"
    );
    assert!(session.joined(&name("b")).is_some());
}

#[test]
fn a_token_of_another_user_is_refused() {
    let mut session = Session::new(Some(token("ann", &["a"])));
    let refusal = session.renew(token("ben", &["a"])).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Forbidden);
    assert_eq!(session.identity().unwrap().user.as_deref(), Some("ann"));
    let mut nobody = Session::default();
    nobody.renew(token("ben", &["a"])).unwrap();
    assert_eq!(nobody.identity().unwrap().user.as_deref(), Some("ben"));
}
