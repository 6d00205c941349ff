//! Forgetting what a room keeps.

use fanfare_broker::{Hub, SurveyError};
use fanfare_shared::RoomName;

use super::survey;
use crate::auth::{ApiKey, Denied};

/// A log that is to be deleted. For backends alone.
#[derive(Debug)]
pub struct Forget(RoomName);

impl Forget {
    /// That of one room.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the key does not allow `forget`.
    pub fn new(key: &ApiKey, room: RoomName) -> Result<Self, Denied> {
        key.may("forget")?;
        Ok(Self(room))
    }

    /// Deletes it, and has every node let go of what it holds of it, which tells the members by a
    /// reset. May be repeated.
    ///
    /// # Errors
    ///
    /// If the log could not be deleted, or a node did not say that it has let go.
    pub async fn act(self, hub: &Hub) -> Result<(), SurveyError> {
        hub.forget(&self.0).await?;
        survey::look_again(hub, &self.0).await
    }
}
