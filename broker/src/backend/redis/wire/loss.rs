//! Why a link is lost, and how its parts tell.

use tokio::sync::watch;

/// Why a link was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A connection was closed, or reading or writing it failed.
    Closed,
    /// The probe did not come back in time.
    Probe,
    /// The server has become a replica.
    Demoted,
    /// The server goes on as another run: it was promoted anew, or its first replica came.
    Renewed,
    /// In a cluster: the slot of the probe's channel went to another server.
    Moved,
    /// The server refuses writes for want of replicas, and the sentinels name another.
    Replaced,
    /// The node's own workers are too far behind.
    Congested,
    /// A fault of this program.
    Internal,
}

impl Loss {
    /// In the order of their declaration.
    pub(crate) const ALL: [Self; 8] = [
        Self::Closed,
        Self::Probe,
        Self::Demoted,
        Self::Renewed,
        Self::Moved,
        Self::Replaced,
        Self::Congested,
        Self::Internal,
    ];

    /// The metric's label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Probe => "probe",
            Self::Demoted => "demoted",
            Self::Renewed => "renewed",
            Self::Moved => "moved",
            Self::Replaced => "replaced",
            Self::Congested => "congested",
            Self::Internal => "internal",
        }
    }
}

/// Rings when a link is lost: whichever of its parts notices first says why.
#[derive(Default)]
pub(crate) struct Alarm(watch::Sender<Option<Loss>>);

impl Alarm {
    /// Says that the link is of no use any more. The first reason given counts.
    pub(crate) fn raise(&self, loss: Loss) {
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(loss);
            first
        });
    }

    /// Waits for somebody to say so.
    pub(crate) async fn raised(&self) -> Loss {
        let mut known = self.0.subscribe();
        match known.wait_for(Option::is_some).await {
            Ok(loss) => loss.unwrap_or(Loss::Closed),
            // Not reached: the sender lives as long as `self`.
            Err(_) => Loss::Closed,
        }
    }
}
