//! What is said at the end: how much was published, up to where, and what is not known.

use anyhow::anyhow;
use serde_json::json;

use super::Publisher;
use crate::cli::failure::notice;
use crate::cli::output;

impl Publisher {
    /// Says what became of it.
    pub(super) fn conclude(
        &self,
        mut result: anyhow::Result<()>,
        json: bool,
        quiet: bool,
    ) -> anyhow::Result<()> {
        if json {
            let position = self.position.as_ref();
            let line = json!({
                "published": self.published,
                "epoch": position.map(|position| &position.epoch),
                "offset": position.map(|position| position.offset),
            });
            let printed = output::print(&format!("{line}\n"));
            // Of two failures, that of the publishing is the one to tell.
            result = result.and(printed);
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
