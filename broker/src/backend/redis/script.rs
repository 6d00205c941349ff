//! A Lua script in the server's cache.

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};

use super::link::Loss;
use super::refusal::Refusal;

/// How many texts a script goes through. See [`Script`].
const VARIANTS: u8 = 16;

/// A script that is loaded, and called by its SHA.
///
/// Where the cache is emptied (SCRIPT FLUSH) in the midst of a pipeline, the calls before it are
/// executed and those after it are not: they can be repeated in order. Not so if another node
/// loads the same text again meanwhile, since then later calls of our pipeline succeed before the
/// earlier ones are repeated. Hence a node that finds the cache emptied loads the next of
/// sixteen texts, which differ in a comment, and so have SHAs of their own: until a pipeline has
/// come to its end, nobody loads the text that it calls.
pub(super) struct Script {
    text: &'static str,
    variant: u8,
    sha: String,
}

impl Script {
    /// Loads the first text.
    pub(super) async fn load(
        connection: &mut MultiplexedConnection,
        text: &'static str,
    ) -> RedisResult<Self> {
        let sha = load(connection, text, 0).await?;
        Ok(Self {
            text,
            variant: 0,
            sha,
        })
    }

    /// Loads the next text.
    pub(super) async fn reload(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Result<(), Refusal>, Loss> {
        let variant = (self.variant + 1) % VARIANTS;
        match load(connection, self.text, variant).await {
            Ok(sha) => {
                self.variant = variant;
                self.sha = sha;
                Ok(Ok(()))
            }
            Err(error) => Refusal::of(&error).map(Err),
        }
    }

    /// What to call it by.
    pub(super) fn sha(&self) -> &str {
        &self.sha
    }
}

async fn load(
    connection: &mut MultiplexedConnection,
    text: &str,
    variant: u8,
) -> RedisResult<String> {
    cmd("SCRIPT")
        .arg("LOAD")
        .arg(format!("{text}\n-- text {variant}"))
        .query_async(connection)
        .await
}
