//! What is not acknowledged yet: taken from the input as far as the window goes, sent in its order,
//! kept until its answer.

use anyhow::bail;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::lines::Line;
use super::{Pending, Publisher, WINDOW};
use crate::cli::client::{CommandError, Connection, Position};
use crate::cli::failure::notice;

/// `publish`, as it is sent.
#[derive(Serialize)]
struct Publish<'a> {
    r#type: &'static str,
    id: u64,
    room: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    data: &'a RawValue,
    key: &'a str,
    echo: bool,
}

impl Publisher {
    /// Takes a line from the input, and what is there already, as far as the window goes.
    pub(super) fn accept(&mut self, line: Option<Result<Line, String>>) {
        let mut next = line;
        // Idleness before it does not count as waiting for an acknowledgement.
        if self.pending.is_empty() {
            self.progress = Instant::now();
        }
        loop {
            match next {
                Some(Ok(line)) => {
                    self.sequence += 1;
                    self.pending.push_back(Pending {
                        sequence: self.sequence,
                        line,
                        under_way: false,
                    });
                }
                Some(Err(problem)) => {
                    self.input_problem = Some(problem);
                    self.input_ended = true;
                    return;
                }
                None => {
                    self.input_ended = true;
                    return;
                }
            }
            if self.pending.len() >= WINDOW {
                return;
            }
            next = match self.input.try_recv() {
                Ok(line) => Some(line),
                Err(mpsc::error::TryRecvError::Empty) => return,
                Err(mpsc::error::TryRecvError::Disconnected) => None,
            };
        }
    }

    pub(super) async fn send_pending(&mut self, connection: &Connection) -> anyhow::Result<()> {
        for index in 0..self.pending.len() {
            if self.pending[index].under_way {
                continue;
            }
            let command = self.command(index)?;
            let (most, size) = (connection.max_message, command.len());
            if size > most {
                // The server would close the connection, again and again.
                bail!(
                    "{}: {size} bytes as a command; the server takes at most {most}",
                    self.pending[index].line.place
                );
            }
            self.pending[index].under_way = true;
            connection.send(command).await;
        }
        Ok(())
    }

    fn command(&self, index: usize) -> serde_json::Result<String> {
        let pending = &self.pending[index];
        serde_json::to_string(&Publish {
            r#type: "publish",
            id: pending.sequence,
            room: self.room.as_str(),
            event: self.event.as_deref(),
            data: &pending.line.data,
            key: &format!("{}-{}", self.run, pending.sequence),
            echo: false,
        })
    }

    pub(super) fn acknowledge(&mut self, id: Option<u64>, position: Option<Position>) {
        let Some(index) = self.index(id) else {
            return;
        };
        self.pending.remove(index);
        self.published += 1;
        self.position = position.or_else(|| self.position.take());
        self.progress = Instant::now();
        self.backoff.reset();
        self.meter.show(self.published);
    }

    /// Takes the failure of one publication: the reason to hold back where trying again may
    /// help, the end of all where it cannot.
    pub(super) fn refuse(&mut self, error: &CommandError) -> anyhow::Result<Option<String>> {
        let Some(index) = self.index(error.id) else {
            notice(&format!("{}: {error}", self.endpoint));
            return Ok(None);
        };
        let pending = &mut self.pending[index];
        if !error.retry {
            bail!("{} was refused: {error}", pending.line.place);
        }
        pending.under_way = false;
        Ok(Some(error.to_string()))
    }

    fn index(&self, id: Option<u64>) -> Option<usize> {
        let id = id?;
        self.pending
            .binary_search_by_key(&id, |pending| pending.sequence)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use fanfare_shared::RoomName;
    use serde_json::json;

    use super::super::JOIN;
    use super::super::meter::Meter;
    use super::*;
    use crate::cli::client::{Backoff, Endpoint};

    fn publisher(lines: &[&str]) -> Publisher {
        let (sender, input) = mpsc::channel(WINDOW);
        for line in lines {
            let line = Line::new((*line).to_owned(), false, "DATA".to_owned());
            sender.try_send(line).expect("room for it");
        }
        Publisher {
            endpoint: Endpoint::ws("ws://h").expect("a URL"),
            room: RoomName::new("a").expect("a name"),
            event: None,
            run: "run".to_owned(),
            input,
            input_ended: false,
            input_problem: None,
            pending: VecDeque::new(),
            sequence: JOIN,
            published: 0,
            position: None,
            joined: true,
            progress: Instant::now(),
            backoff: Backoff::default(),
            meter: Meter::new(true),
        }
    }

    fn accepted(lines: &[&str]) -> Publisher {
        let mut publisher = publisher(lines);
        let first = publisher.input.try_recv().ok();
        publisher.accept(first);
        publisher
    }

    fn error(id: u64, retry: bool) -> CommandError {
        let error = json!({"id": id, "code": "unavailable", "message": "no", "retry": retry});
        serde_json::from_value(error).expect("an error")
    }

    #[test]
    fn a_command_has_a_key_of_its_run_that_stays_when_it_is_sent_again() {
        let mut publisher = accepted(&["one", "two"]);
        let first = publisher.command(0).expect("JSON");
        assert_eq!(
            first,
            r#"{"type":"publish","id":2,"room":"a","data":"one","key":"run-2","echo":false}"#
        );
        publisher.acknowledge(Some(2), None);
        let second = publisher.command(0).expect("JSON");
        assert!(second.contains(r#""id":3,"#) && second.contains(r#""key":"run-3""#));
        assert_eq!(publisher.command(0).expect("JSON"), second);
    }

    #[test]
    fn the_input_is_read_no_further_than_the_window() {
        let publisher = accepted(&["x"; WINDOW]);
        assert_eq!(publisher.pending.len(), WINDOW);
        assert!(!publisher.input_ended);
        assert!(accepted(&["x"; 3]).input_ended);
    }

    #[test]
    fn what_was_refused_for_now_stays_in_its_place() {
        let mut publisher = accepted(&["one", "two", "three"]);
        for pending in &mut publisher.pending {
            pending.under_way = true;
        }
        let hold = publisher.refuse(&error(3, true)).expect("no failure");
        assert_eq!(hold.as_deref(), Some("unavailable: no"));
        publisher.acknowledge(Some(2), None);
        let left: Vec<_> = publisher
            .pending
            .iter()
            .map(|pending| (pending.sequence, pending.under_way))
            .collect();
        assert_eq!(left, [(3, false), (4, true)]);
        let failure = publisher.refuse(&error(4, false)).expect_err("the end");
        assert_eq!(failure.to_string(), "DATA was refused: unavailable: no");
    }

    #[test]
    fn an_acknowledgement_counts_once() {
        let mut publisher = accepted(&["one"]);
        publisher.acknowledge(Some(2), None);
        publisher.acknowledge(Some(2), None);
        publisher.acknowledge(None, None);
        assert_eq!(publisher.published, 1);
    }
}
