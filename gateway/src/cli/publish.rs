//! `fanfare pub`: publishes one value, or every line of standard input, and ends well only when
//! all of it was acknowledged.
//!
//! Up to [`WINDOW`] publications are under way at once. Each has a key, so that sending it again
//! after a lost connection cannot double it. Invariant: what is not acknowledged is kept, and
//! is sent in its order; after a failure nothing new is sent until what was under way has
//! settled.

mod lines;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use fanfare_shared::RoomName;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use self::lines::Line;
use super::client::{Backoff, CommandError, Connection, Endpoint, Event, Incoming, Position};
use super::{UrlArg, block_on, notice, room_name};

/// Publications sent and not yet acknowledged; at as many, input waits.
const WINDOW: usize = 256;

/// How long to go on without a single acknowledgement before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the progress line moves.
const PROGRESS: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  fanfare pub lobby 'hello, all'               one message
  fanfare pub lobby '{\"n\":1}' --json-data      one JSON value
  tail -f app.log | fanfare pub logs           each line, as it comes
  fanfare pub orders --json-data < day.ndjson  each line a JSON value";

/// Publish to a room
///
/// Without DATA, each line of standard input is one message. Exit code 0 means that the server
/// acknowledged every one. After a lost connection it goes on where it was; nothing is doubled.
#[derive(Debug, Args)]
#[command(name = "pub", after_help = EXAMPLES)]
pub(super) struct PubArgs {
    /// Room to publish to
    #[arg(value_name = "ROOM", value_parser = room_name)]
    room: RoomName,
    /// What to publish [default: each line of standard input]
    #[arg(value_name = "DATA", allow_negative_numbers = true)]
    data: Option<String>,
    #[command(flatten)]
    url: UrlArg,
    /// Name of the event
    #[arg(long, value_name = "NAME", help_heading = "Messages")]
    event: Option<String>,
    /// Take the data for JSON rather than text
    #[arg(long, help_heading = "Messages")]
    json_data: bool,
    /// Print {"published":N,"epoch":…,"offset":…} at the end
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Say nothing but errors
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
}

/// Publishes over as many connections as it takes.
#[derive(Debug)]
struct Publisher {
    endpoint: Endpoint,
    room: RoomName,
    event: Option<String>,
    /// Random, and the first part of every key.
    run: String,
    input: mpsc::Receiver<Result<Line, String>>,
    input_ended: bool,
    /// Why the input ended early; what came before it is published all the same.
    input_problem: Option<String>,
    /// Not acknowledged yet, in order; at most [`WINDOW`].
    pending: VecDeque<Pending>,
    sequence: u64,
    published: u64,
    position: Option<Position>,
    joined: bool,
    /// When the last acknowledgement came.
    progress: Instant,
    backoff: Backoff,
    meter: Meter,
}

#[derive(Debug)]
struct Pending {
    sequence: u64,
    line: Line,
    under_way: bool,
}

/// How one connection's session ended.
enum Ended {
    Done,
    Lost(String),
}

/// Why nothing new is sent.
struct Hold {
    reason: String,
    /// When all that was under way has settled, the time to go on.
    until: Option<Instant>,
}

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

/// The id of `join`; publications have their sequence number, which starts after it.
const JOIN: u64 = 1;

pub(super) fn run(args: PubArgs) -> anyhow::Result<()> {
    let input = match args.data {
        Some(data) => lines::one(data, args.json_data),
        None => {
            if io::stdin().is_terminal() && !args.quiet {
                notice("each line is one message; end with Ctrl-D");
            }
            lines::of_stdin(args.json_data, WINDOW)
        }
    };
    let mut publisher = Publisher {
        endpoint: args.url.endpoint(),
        room: args.room,
        event: args.event,
        run: format!("{:016x}", fastrand::u64(..)),
        input,
        input_ended: false,
        input_problem: None,
        pending: VecDeque::new(),
        sequence: JOIN,
        published: 0,
        position: None,
        joined: false,
        progress: Instant::now(),
        backoff: Backoff::default(),
        meter: Meter::new(args.quiet),
    };
    block_on(async move {
        let mut open = None;
        let result = tokio::select! {
            result = publisher.publish_all(&mut open) => result,
            _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        };
        if let Some(connection) = open {
            connection.close().await;
        }
        publisher.meter.clear();
        publisher.conclude(result, args.json, args.quiet)
    })?
}

impl Publisher {
    /// Connects again and again until all is acknowledged. What is `open` at the end is left to
    /// close.
    async fn publish_all(&mut self, open: &mut Option<Connection>) -> anyhow::Result<()> {
        loop {
            let lost = match Connection::open(&self.endpoint).await {
                Ok(connection) => match self.session(open.insert(connection)).await? {
                    Ended::Done => return Ok(()),
                    Ended::Lost(reason) => reason,
                },
                Err(error) if self.joined && error.may_pass() => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if let Some(connection) = open.take() {
                connection.close().await;
            }
            let wait = self.backoff.next();
            self.tell(&lost, wait)?;
            sleep(wait).await;
        }
    }

    /// Joins, for rooms where only members may publish, and publishes until the connection ends.
    async fn session(&mut self, connection: &mut Connection) -> anyhow::Result<Ended> {
        let join = json!({"type": "join", "id": JOIN, "room": self.room.as_str()});
        connection.send(join.to_string()).await;
        for pending in &mut self.pending {
            pending.under_way = false;
        }
        let mut joined = false;
        let mut hold: Option<Hold> = None;
        loop {
            if joined && hold.is_none() {
                self.send_pending(connection).await?;
                if self.pending.is_empty() && self.input_ended {
                    if let Some(problem) = self.input_problem.take() {
                        bail!(problem);
                    }
                    return Ok(Ended::Done);
                }
            }
            if let Some(hold) = &mut hold
                && hold.until.is_none()
                && !self.pending.iter().any(|pending| pending.under_way)
            {
                let wait = self.backoff.next();
                self.tell(&hold.reason, wait)?;
                hold.until = Some(Instant::now() + wait);
            }
            let go_on = hold.as_ref().and_then(|hold| hold.until);
            let may_read =
                joined && hold.is_none() && !self.input_ended && self.pending.len() < WINDOW;
            let waiting = !joined || !self.pending.is_empty();
            tokio::select! {
                incoming = connection.next() => {
                    let text = match incoming {
                        Incoming::Text(text) => text,
                        Incoming::Closed(closed) if closed.reconnect() => {
                            if joined && self.pending.is_empty() {
                                // It was idle, not stuck.
                                self.progress = Instant::now();
                            }
                            return Ok(Ended::Lost(closed.to_string()));
                        }
                        Incoming::Closed(closed) => bail!("{}: {closed}", self.endpoint),
                    };
                    let event = Event::parse(&text)
                        .with_context(|| format!("{} sent what is no event", self.endpoint))?;
                    match event {
                        Event::Joined(_) => {
                            joined = true;
                            self.joined = true;
                        }
                        Event::Published(published) => {
                            let position = published.position();
                            self.acknowledge(published.id, position);
                        }
                        Event::Error(error) if error.id == Some(JOIN) => {
                            if error.retry {
                                return Ok(Ended::Lost(error.to_string()));
                            }
                            bail!("cannot join {}: {error}", self.room);
                        }
                        Event::Error(error) => {
                            if let Some(reason) = self.refuse(&error)? {
                                hold.get_or_insert(Hold { reason, until: None });
                            }
                        }
                        Event::Message(_) | Event::Reset(_) | Event::Other => {}
                    }
                }
                line = self.input.recv(), if may_read => self.accept(line),
                () = at(go_on), if go_on.is_some() => hold = None,
                () = sleep_until(self.progress + PATIENCE), if waiting => {
                    bail!("no acknowledgement for {} seconds", PATIENCE.as_secs());
                }
            }
        }
    }

    /// Takes a line from the input, and what is there already, as far as the window goes.
    fn accept(&mut self, line: Option<Result<Line, String>>) {
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

    async fn send_pending(&mut self, connection: &Connection) -> anyhow::Result<()> {
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

    fn acknowledge(&mut self, id: Option<u64>, position: Option<Position>) {
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
    fn refuse(&mut self, error: &CommandError) -> anyhow::Result<Option<String>> {
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

    /// Says why it waits, or fails where it has waited long enough.
    fn tell(&mut self, reason: &str, wait: Duration) -> anyhow::Result<()> {
        if self.progress.elapsed() > PATIENCE {
            bail!(
                "no acknowledgement for {} seconds: {reason}",
                PATIENCE.as_secs()
            );
        }
        self.meter.clear();
        notice(&format!(
            "{reason}; trying again in {:.1} s",
            wait.as_secs_f64()
        ));
        Ok(())
    }

    /// Says what became of it.
    fn conclude(&self, result: anyhow::Result<()>, json: bool, quiet: bool) -> anyhow::Result<()> {
        if json {
            let position = self.position.as_ref();
            let line = json!({
                "published": self.published,
                "epoch": position.map(|position| &position.epoch),
                "offset": position.map(|position| position.offset),
            });
            match writeln!(io::stdout().lock(), "{line}") {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    return Err(error).context("cannot print");
                }
                _ => {}
            }
        }
        let messages = if self.published == 1 {
            "message"
        } else {
            "messages"
        };
        let count = format!("published {} {messages} to {}", self.published, self.room);
        match result {
            Ok(()) if quiet => Ok(()),
            Ok(()) => {
                match &self.position {
                    Some(position) => notice(&format!("{count}, up to offset {}", position.offset)),
                    None => notice(&count),
                }
                Ok(())
            }
            Err(error) => {
                let mut message = format!("{error:#}");
                if self.published > 0 {
                    message = format!("{message}; {count}");
                }
                // These may have been published or not.
                match self
                    .pending
                    .iter()
                    .filter(|pending| pending.under_way)
                    .count()
                {
                    0 => {}
                    open => message = format!("{message}; {open} not acknowledged"),
                }
                Err(anyhow!(message))
            }
        }
    }
}

/// Waits until then; for ever where there is no then.
async fn at(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// A line on a terminal that counts, once there is something to count.
#[derive(Debug)]
struct Meter {
    /// When it moves next; never where nobody looks.
    next: Option<Instant>,
    shown: bool,
}

impl Meter {
    fn new(quiet: bool) -> Self {
        let seen = !quiet && io::stderr().is_terminal() && !io::stdin().is_terminal();
        Self {
            next: seen.then(|| Instant::now() + 2 * PROGRESS),
            shown: false,
        }
    }

    fn show(&mut self, published: u64) {
        if self.next.is_some_and(|next| next <= Instant::now()) {
            self.next = Some(Instant::now() + PROGRESS);
            self.shown = true;
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[Kpublished {published}");
            let _ = stderr.flush();
        }
    }

    /// Makes room for another line.
    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
