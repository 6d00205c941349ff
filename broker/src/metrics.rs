//! What the broker counts. Every label is a closed set; none names a room, a user or a client.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The broker's metrics, registered once per node.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `fanfare_rooms`.
    pub rooms: IntGauge,
    /// `fanfare_rooms_refused_total`.
    pub rooms_refused: IntCounter,
    /// `fanfare_mailboxes`.
    pub mailboxes: IntGauge,
    /// `fanfare_messages_to_users_total{delivered="true"}`, and `false`.
    letters: [IntCounter; 2],
    /// `fanfare_presence_members`.
    pub presence_members: IntGauge,
    /// `fanfare_presence_changes_total{change="enter"}`.
    pub presence_entered: IntCounter,
    /// `fanfare_presence_changes_total{change="exit"}`.
    pub presence_exited: IntCounter,
    /// `fanfare_backend_gaps_total{outcome="seen"}`.
    pub gaps_seen: IntCounter,
    /// `fanfare_backend_gaps_total{outcome="healed"}`.
    pub gaps_healed: IntCounter,
    /// `fanfare_backend_gaps_total{outcome="unhealed"}`.
    pub gaps_unhealed: IntCounter,
}

impl Metrics {
    /// Registers the metrics. Fails if they are registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let rooms = IntGauge::new(
            "fanfare_rooms",
            "Rooms with local members, or had them just now",
        )?;
        let rooms_refused = IntCounter::new(
            "fanfare_rooms_refused_total",
            "Joins refused since the node has as many rooms as limits.rooms",
        )?;
        let mailboxes = IntGauge::new(
            "fanfare_mailboxes",
            "Users with local connections, or had them just now",
        )?;
        let letters = IntCounterVec::new(
            Opts::new(
                "fanfare_messages_to_users_total",
                "Messages to users that were sent here, by whether a connection took them",
            ),
            &["delivered"],
        )?;
        let gaps = IntCounterVec::new(
            Opts::new(
                "fanfare_backend_gaps_total",
                "Gaps in what the backend delivered: seen in offsets, healed from the log, or not",
            ),
            &["outcome"],
        )?;
        let members = IntGauge::new(
            "fanfare_presence_members",
            "Memberships of local connections in rooms that keep presence",
        )?;
        let changes = IntCounterVec::new(
            Opts::new(
                "fanfare_presence_changes_total",
                "Local members that entered or exited rooms that keep presence",
            ),
            &["change"],
        )?;
        registry.register(Box::new(rooms_refused.clone()))?;
        registry.register(Box::new(members.clone()))?;
        registry.register(Box::new(changes.clone()))?;
        registry.register(Box::new(rooms.clone()))?;
        registry.register(Box::new(mailboxes.clone()))?;
        registry.register(Box::new(letters.clone()))?;
        registry.register(Box::new(gaps.clone()))?;
        Ok(Self {
            rooms,
            rooms_refused,
            mailboxes,
            letters: ["false", "true"].map(|delivered| letters.with_label_values(&[delivered])),
            presence_members: members,
            presence_entered: changes.with_label_values(&["enter"]),
            presence_exited: changes.with_label_values(&["exit"]),
            gaps_seen: gaps.with_label_values(&["seen"]),
            gaps_healed: gaps.with_label_values(&["healed"]),
            gaps_unhealed: gaps.with_label_values(&["unhealed"]),
        })
    }

    /// Counts a message to a user.
    pub(crate) fn note_letter(&self, taken: bool) {
        self.letters[usize::from(taken)].inc();
    }
}
