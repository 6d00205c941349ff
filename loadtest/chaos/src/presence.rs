//! Who is in which room: what every node answers, held against who ought to be there.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::time::{Duration, timeout};

use crate::ledger::{Kind, Violation};
use crate::socket::Socket;
use crate::stage::Stage;
use crate::wire::{Event, Format};

/// How many members a page has: fewer than most rooms.
const PAGE: usize = 3;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// What nodes say of rooms that is not so.
pub(crate) async fn wrong(stage: &Stage) -> anyhow::Result<Vec<Violation>> {
    let mut wrong = Vec::new();
    for (number, node) in stage.nodes.iter().enumerate() {
        let mut socket = Socket::open(*node, Format::Json).await?;
        for (room, known) in stage.rooms.iter().enumerate() {
            let said = members(&mut socket, &known.name).await;
            let said =
                said.with_context(|| format!("node-{number}, presence of {}", known.name))?;
            // Nobody comes or goes by itself any more; who does will be seen at the next look.
            let present = stage.ledger().present(room);
            wrong.extend(said.contradicts(&present).map(|how| Violation {
                kind: Kind::Presence,
                what: format!("node-{number}, presence of {}: {how}", known.name),
            }));
        }
    }
    Ok(wrong)
}

/// What a node answers: everyone on any page, and the count on each.
#[derive(Debug, Default)]
struct Said {
    listed: Vec<String>,
    counts: Vec<u64>,
}

impl Said {
    /// How it differs from who is there.
    fn contradicts(&self, present: &BTreeSet<String>) -> Option<String> {
        let listed: BTreeSet<_> = self.listed.iter().cloned().collect();
        let count = present.len() as u64;
        if listed == *present
            && self.listed.len() == listed.len()
            && self.counts.iter().all(|counted| *counted == count)
        {
            return None;
        }
        let missing: Vec<_> = present.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(present).collect();
        let (listed, counts) = (self.listed.len(), &self.counts);
        Some(format!(
            "of {count}, {listed} are listed and {counts:?} counted; \
             missing are {missing:?}, not there {gone:?}"
        ))
    }
}

async fn members(socket: &mut Socket, room: &str) -> anyhow::Result<Said> {
    let mut said = Said::default();
    let mut after = None;
    loop {
        let mut command = json!({"type": "presence", "id": 1, "room": room, "limit": PAGE});
        if let Some(after) = after {
            command["after"] = after;
        }
        socket.send(&command).await?;
        let answer = timeout(ANSWER, socket.next()).await;
        match answer.context("no answer")?? {
            Ok(Event::Presence {
                count,
                members,
                next,
            }) => {
                said.counts.push(count);
                said.listed
                    .extend(members.into_iter().map(|member| member.client));
                match next {
                    Some(next) => after = Some(next.into()),
                    None => return Ok(said),
                }
            }
            other => bail!("{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_there_listed_once_and_counted_contradicts_nothing() {
        let present = ["a", "b"].map(str::to_owned).into();
        for (listed, counts, is_right) in [
            (vec!["a", "b"], vec![2], true),
            (vec!["a", "b"], vec![2, 2], true),
            (vec!["a"], vec![2], false),
            (vec!["a", "b", "c"], vec![2], false),
            (vec!["a", "b", "b"], vec![2], false),
            (vec!["a", "b"], vec![2, 3], false),
        ] {
            let listed = listed.into_iter().map(str::to_owned).collect();
            let said = Said { listed, counts };
            let contradiction = said.contradicts(&present);
            assert_eq!(contradiction.is_none(), is_right, "{said:?}");
        }
    }
}
