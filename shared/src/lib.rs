//! What every part of Fanfare agrees on: names and ids, positions, commands, events and their
//! encodings, error and close codes, configuration.
//!
//! Nothing here does I/O or knows a runtime. A message's way through this crate:
//! bytes → [`codec::decode`] → [`Command`] → [`Publication`] → [`envelope`] (between nodes) →
//! [`Event`] → [`codec::encode`] → a complete frame, shared by every socket.

pub mod code;
pub mod codec;
mod command;
pub mod config;
pub mod envelope;
mod event;
pub mod frame;
mod hex;
mod id;
mod member;
mod position;
mod publication;
mod room;

pub use command::{Command, Request};
pub use event::{Authentication, Event, LeftReason, Welcome};
pub use id::ClientId;
pub use member::{Headcount, Identity, Member, MemberChange, Roll};
pub use position::{Epoch, Position};
pub use publication::{Data, Encoding, Publication, Publisher};
pub use room::{Hidden, RoomName, RoomNameError};
