//! A Lua script in the server's cache.

use redis::RedisResult;

use super::command::Pipeline;
use super::connection::Connection;
use super::loss::Loss;
use super::refusal::Refusal;
use super::resp;

/// How often in a row a batch is sent and none of it is executed, because the scripts had gone once
/// more.
pub(crate) const MAX_IN_VAIN: usize = 8;

/// A script that is loaded, and called by its SHA.
///
/// Where the cache is emptied (SCRIPT FLUSH) in the midst of a pipeline, the calls before it are
/// executed and those after it are not: they can be repeated in order. Not so if another node
/// loads the same text again meanwhile, since then later calls of our pipeline succeed before the
/// earlier ones are repeated. Hence a node that finds the cache emptied loads a text of its own,
/// which differs in a comment and so has another SHA. They do not pile up in the cache: there is
/// one per node, and only since the cache was last emptied.
pub(crate) struct Script {
    shared: &'static str,
    text: String,
    sha: String,
}

impl Script {
    /// Loads the text that all nodes share.
    pub(crate) async fn load(connection: &Connection, shared: &'static str) -> RedisResult<Self> {
        let text = shared.to_owned();
        let sha = load(connection, &text).await?;
        Ok(Self { shared, text, sha })
    }

    /// Loads a text that only this node has.
    pub(crate) async fn reload(
        &mut self,
        connection: &Connection,
    ) -> Result<Result<(), Refusal>, Loss> {
        let text = format!("{}\n-- {:016x}", self.shared, fastrand::u64(..));
        match load(connection, &text).await {
            Ok(sha) => {
                self.text = text;
                self.sha = sha;
                Ok(Ok(()))
            }
            Err(error) => Refusal::of(&error).map(Err),
        }
    }

    /// Loads the same text once more: at the head of a pipeline, where nothing comes between this
    /// and the first call.
    pub(crate) fn load_again(&self, pipeline: &mut Pipeline) {
        pipeline.add(loading(&self.text));
    }

    /// What to call it by.
    pub(crate) fn sha(&self) -> &str {
        &self.sha
    }
}

fn loading(text: &str) -> [&str; 3] {
    ["SCRIPT", "LOAD", text]
}

/// Answers the script's SHA.
async fn load(connection: &Connection, text: &str) -> RedisResult<String> {
    let mut pipeline = Pipeline::default();
    pipeline.add(loading(text));
    let [sha] = connection.call(&pipeline).await?;
    resp::text(sha)
}
