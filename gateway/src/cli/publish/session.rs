//! One connection after the other until all is acknowledged, and when to hold back or give up.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{JOIN, Publisher, WINDOW};
use crate::cli::client::{Connection, Event, Incoming};
use crate::cli::failure::notice;

/// How long to go on without a single acknowledgement before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

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

impl Publisher {
    /// Connects again and again until all is acknowledged. What is `open` at the end is left to
    /// close.
    pub(super) async fn publish_all(
        &mut self,
        open: &mut Option<Connection>,
    ) -> anyhow::Result<()> {
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
}

/// Waits until then; for ever where there is no then.
async fn at(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}
