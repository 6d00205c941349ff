//! What is written, what gives way, and how much work that is.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::Backlog;

fn frame(text: &'static str) -> Frame {
    Backlog::default().frame(Bytes::from_static(text.as_bytes()))
}

fn room(number: u64) -> RoomKey {
    RoomKey(std::num::NonZeroU64::new(number).unwrap())
}

fn written(outbox: &Outbox) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 8];
    let count = outbox.slices(&mut slices);
    slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect()
}

#[test]
fn what_the_socket_took_is_not_offered_again() {
    let mut outbox = Outbox::default();
    outbox.push(frame("abc"), 100).unwrap();
    outbox.push(frame("defg"), 100).unwrap();
    outbox.advance(1);
    assert_eq!(written(&outbox), b"bcdefg");
    assert_eq!(outbox.single(), None);
    outbox.advance(3);
    assert_eq!(written(&outbox), b"efg");
    assert_eq!(outbox.single(), Some(&b"efg"[..]));
    assert_eq!(outbox.bytes(), 3);
    outbox.advance(3);
    assert!(outbox.is_empty());
    assert_eq!(outbox.single(), None);
}

#[test]
fn the_bound_is_in_bytes_behind_the_frame_that_is_being_written() {
    let mut outbox = Outbox::default();
    outbox.push(frame("a replay of any size"), 4).unwrap();
    outbox.push(frame("bcd"), 4).unwrap();
    assert_eq!(outbox.push(frame("ef"), 4), Err(Overflow));
    outbox.advance(10);
    assert_eq!(outbox.push(frame("ef"), 4), Err(Overflow));
    outbox.advance(10);
    assert_eq!(outbox.push(frame("ef"), 4), Ok(()));
}

#[test]
fn memory_of_a_burst_is_kept_for_the_next_one_until_trimmed() {
    let mut outbox = Outbox::default();
    let burst = |outbox: &mut Outbox, frames| {
        for _ in 0..frames {
            outbox.push(frame("a"), 1_000).unwrap();
        }
        outbox.advance(frames);
        outbox.queue.capacity()
    };
    let kept = burst(&mut outbox, 20);
    assert!(kept >= 20);
    assert_eq!(burst(&mut outbox, 20), kept);
    outbox.trim();
    assert_eq!(outbox.queue.capacity(), KEPT_CAPACITY);
    assert_eq!(burst(&mut outbox, 100), KEPT_CAPACITY, "too much to keep");
}

#[test]
fn only_publications_give_way_and_the_oldest_first() {
    let (a, b) = (room(1), room(2));
    let mut outbox = Outbox::default();
    outbox.push(frame("reply"), 100).unwrap();
    outbox.push_publication(frame("a1"), a, 100).unwrap();
    outbox.push_publication(frame("b1"), b, 100).unwrap();
    outbox.push_publication(frame("a2"), a, 100).unwrap();
    assert_eq!(outbox.drop_oldest(2, 11), 1);
    assert_eq!(written(&outbox), b"replyb1a2");
    assert_eq!(outbox.drop_room(a), 1);
    assert_eq!(written(&outbox), b"replyb1");
    assert_eq!(outbox.bytes(), 7);
}

#[test]
fn a_frame_written_in_part_survives_a_drop() {
    let mut outbox = Outbox::default();
    for text in ["abc", "def", "ghi"] {
        outbox.push(frame(text), 100).unwrap();
    }
    outbox.advance(1);
    assert_eq!(outbox.drop_all(), 2);
    assert_eq!(written(&outbox), b"bc");
    assert_eq!(outbox.bytes(), 2);
}

/// The same without holes, as simple as it can be.
#[derive(Default)]
struct Model {
    queue: Vec<(Vec<u8>, Option<RoomKey>)>,
    written: usize,
}

impl Model {
    fn bytes(&self) -> usize {
        self.queue
            .iter()
            .map(|(frame, _)| frame.len())
            .sum::<usize>()
            - self.written
    }

    fn push(&mut self, frame: &[u8], room: Option<RoomKey>, bound: usize) -> bool {
        if let Some((first, _)) = self.queue.first()
            && self.bytes() + self.written - first.len() + frame.len() > bound
        {
            return false;
        }
        self.queue.push((frame.to_vec(), room));
        true
    }

    fn drop_while(&mut self, unwanted: impl Fn(Option<RoomKey>, usize) -> bool) -> usize {
        let (before, mut bytes) = (self.queue.len(), self.bytes());
        let mut begun = self.written > 0;
        self.queue.retain(|(frame, room)| {
            let keep = std::mem::take(&mut begun) || !unwanted(*room, bytes);
            bytes -= if keep { 0 } else { frame.len() };
            keep
        });
        before - self.queue.len()
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        while let Some((first, _)) = self.queue.first()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.queue.remove(0);
        }
    }

    fn rest(&self) -> Vec<u8> {
        let all: Vec<_> = self
            .queue
            .iter()
            .flat_map(|(frame, _)| frame.clone())
            .collect();
        all[self.written..].to_vec()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize, Option<u64>),
    DropRoom(u64),
    DropOldest(usize),
    DropAll,
    Advance(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..9_usize, prop::option::of(1..4_u64)).prop_map(|(size, room)| Step::Push(size, room)),
        3 => (1..4_u64).prop_map(Step::DropRoom),
        3 => (1..20_usize).prop_map(Step::DropOldest),
        1 => Just(Step::DropAll),
        3 => (0..30_usize).prop_map(Step::Advance),
    ]
}

proptest! {
    #[test]
    fn it_writes_what_a_simple_queue_would(steps in prop::collection::vec(step(), 1..200)) {
        const BOUND: usize = 60;
        let (mut outbox, mut model) = (Outbox::default(), Model::default());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(size, number_of_room) => {
                    let text = vec![u8::try_from(number % 250).unwrap(); size];
                    let frame = Backlog::default().frame(Bytes::from(text.clone()));
                    let key = number_of_room.map(room);
                    let pushed = match key {
                        Some(key) => outbox.push_publication(frame, key, BOUND),
                        None => outbox.push(frame, BOUND),
                    };
                    prop_assert_eq!(pushed.is_ok(), model.push(&text, key, BOUND));
                }
                Step::DropRoom(number) => {
                    let dropped = model.drop_while(|of, _| of == Some(room(number)));
                    prop_assert_eq!(outbox.drop_room(room(number)), dropped);
                }
                Step::DropOldest(bytes) => {
                    let dropped = model.drop_while(|of, waiting| of.is_some() && waiting + bytes > BOUND);
                    prop_assert_eq!(outbox.drop_oldest(bytes, BOUND), dropped);
                }
                Step::DropAll => {
                    prop_assert_eq!(outbox.drop_all(), model.drop_while(|_, _| true));
                }
                Step::Advance(count) => {
                    let count = count.min(model.bytes());
                    outbox.advance(count);
                    model.advance(count);
                }
            }
            let mut slices = [IoSlice::new(&[]); 256];
            let count = outbox.slices(&mut slices);
            let rest: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            prop_assert_eq!(rest, model.rest());
            prop_assert_eq!(outbox.bytes(), model.bytes());
            prop_assert_eq!(outbox.is_empty(), model.queue.is_empty());
            if let Some(single) = outbox.single() {
                prop_assert_eq!(single, model.rest());
            }
        }
    }
}

#[test]
fn a_stuck_member_costs_the_same_work_however_much_waits() {
    const DELIVERIES: usize = 20_000;
    for waiting in [10, 1_000, 10_000] {
        for latest in [false, true] {
            for replies in [1, waiting / 2] {
                let mut outbox = Outbox::default();
                let bound = waiting * 4;
                for number in 0..waiting {
                    if number < replies {
                        outbox.push(frame("rply"), usize::MAX).unwrap();
                    } else {
                        outbox
                            .push_publication(
                                frame("publ"),
                                room(1 + number as u64 % 7),
                                usize::MAX,
                            )
                            .unwrap();
                    }
                }
                outbox.advance(1);
                holes::VISITED.set(0);
                for number in 0..DELIVERIES {
                    let key = room(1 + number as u64 % 7);
                    if latest {
                        outbox.drop_room(key);
                    }
                    outbox.drop_oldest(4, bound);
                    outbox.push_publication(frame("publ"), key, bound).unwrap();
                }
                // Some for each delivery, and what waited at the beginning a few times.
                let visited = holes::VISITED.get();
                assert!(
                    visited < 12 * DELIVERIES + 12 * waiting,
                    "{visited} looks for {DELIVERIES} deliveries behind {waiting}"
                );
                assert!(outbox.queue.len() <= 2 * waiting + 64);
            }
        }
    }
}
