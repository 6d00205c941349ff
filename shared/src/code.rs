//! The codes that clients see: why a command failed, why a connection was closed, and whether
//! to come back. One table each; the documentation and the JavaScript client repeat these.

/// Why a command failed. The connection lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The command is malformed; the message names the field.
    BadRequest,
    /// No command has this `type`.
    UnknownType,
    /// The command needs credentials that the session does not have.
    Unauthorized,
    /// The session may not do this.
    Forbidden,
    /// The room's rule lets only members do this.
    NotJoined,
    /// The publication is larger than the limit.
    TooLarge,
    /// Too many commands in too little time.
    RateLimited,
    /// The connection is in as many rooms as it may be.
    RoomLimit,
    /// The backend cannot be reached; the outcome of a publish is unknown. Try again, with the
    /// same `key` where it must not happen twice.
    Unavailable,
    /// The server failed; it is not the client's fault. Try again.
    Internal,
}

impl ErrorCode {
    /// The code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownType => "unknown_type",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotJoined => "not_joined",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::RoomLimit => "room_limit",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whether the same command may succeed later.
    #[must_use]
    pub const fn retry(self) -> bool {
        matches!(self, Self::Unavailable | Self::Internal | Self::RateLimited)
    }
}

/// Why a connection was closed, as in the close frame (RFC 6455, section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: done.
    Normal,
    /// 1001: this node is going away.
    GoingAway,
    /// 1002: the peer broke RFC 6455.
    Protocol,
    /// 1003: a kind of message that the subprotocol does not have.
    Unsupported,
    /// 1007: a text message that is not UTF-8.
    InvalidData,
    /// 1008: too many malformed commands in a row, or a message that took too long.
    Policy,
    /// 1009: a message over the size limit.
    TooBig,
    /// 1012: the node restarts.
    Restart,
    /// 1013: the node has no room for this connection now.
    Overloaded,
    /// 4001: the credentials are missing or wrong.
    Unauthorized,
    /// 4003: the session may not be here.
    Forbidden,
    /// 4008: the outbox overflowed.
    SlowConsumer,
    /// 4009: the application's backend, or an operator, closed the connection.
    Disconnected,
    /// 4010: the token ran out.
    TokenExpired,
    /// 4011: the peer answered no heartbeat.
    NoHeartbeat,
    /// 4012: too many commands.
    RateLimit,
}

impl CloseCode {
    /// Every code that Fanfare sends, in the order of the table in the documentation.
    pub const ALL: [Self; 16] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::Unsupported,
        Self::InvalidData,
        Self::Policy,
        Self::TooBig,
        Self::Restart,
        Self::Overloaded,
        Self::Unauthorized,
        Self::Forbidden,
        Self::SlowConsumer,
        Self::Disconnected,
        Self::TokenExpired,
        Self::NoHeartbeat,
        Self::RateLimit,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::InvalidData => 1007,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Restart => 1012,
            Self::Overloaded => 1013,
            Self::Unauthorized => 4001,
            Self::Forbidden => 4003,
            Self::SlowConsumer => 4008,
            Self::Disconnected => 4009,
            Self::TokenExpired => 4010,
            Self::NoHeartbeat => 4011,
            Self::RateLimit => 4012,
        }
    }

    /// The label in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::GoingAway => "going_away",
            Self::Protocol => "protocol",
            Self::Unsupported => "unsupported",
            Self::InvalidData => "invalid_data",
            Self::Policy => "policy",
            Self::TooBig => "too_big",
            Self::Restart => "restart",
            Self::Overloaded => "overloaded",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::SlowConsumer => "slow_consumer",
            Self::Disconnected => "disconnected",
            Self::TokenExpired => "token_expired",
            Self::NoHeartbeat => "no_heartbeat",
            Self::RateLimit => "rate_limit",
        }
    }

    /// Whether the client should come back after this code.
    #[must_use]
    pub const fn reconnect(self) -> bool {
        !matches!(
            self,
            Self::Normal | Self::Unauthorized | Self::Forbidden | Self::Disconnected
        )
    }
}

/// Whether a peer may send `code` in a close frame (RFC 6455, section 7.4): the registered codes
/// that are not reserved for local use, and the ranges for libraries and applications.
#[must_use]
pub const fn may_be_received(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_sent_is_one_that_may_be_received() {
        for code in CloseCode::ALL {
            assert!(may_be_received(code.as_u16()), "{code:?}");
        }
    }

    #[test]
    fn codes_reserved_for_local_use_may_not_be_received() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(!may_be_received(code), "{code}");
        }
    }
}
