//! What a server says of itself: whether it is a master, and which run of it as one this is, which
//! the epochs of logs are tied to.

/// A run of a server as master, from its start or its promotion to its end or its demotion: within
/// it nothing that was written is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incarnation {
    process: String,
    /// Changes with each promotion; and at times by itself, when the first replica comes, and
    /// some time after the last has gone.
    replication: String,
}

/// How much of an id tells one from another.
const ID: usize = 16;

impl Incarnation {
    /// Reads the sections `server` and `replication` of INFO.
    pub(crate) fn read(server: &str, replication: &str) -> Option<Self> {
        Some(Self {
            process: field(server, "run_id")?.get(..ID)?.to_owned(),
            replication: field(replication, "master_replid")?.get(..ID)?.to_owned(),
        })
    }

    /// The process' own id, whatever its role is.
    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// What the scripts call it.
    pub(crate) fn id(&self) -> String {
        format!("{}{}", self.process, self.replication)
    }

    /// Looks at the section `replication` of INFO later: whether this run goes on.
    pub(crate) fn goes_on(&self, replication: &str) -> Result<(), Ended> {
        if field(replication, "role") != Some("master") {
            return Err(Ended::Demoted);
        }
        let id = field(replication, "master_replid").and_then(|id| id.get(..ID));
        if id != Some(&self.replication) {
            return Err(Ended::Renewed);
        }
        Ok(())
    }
}

/// How a run ended in a process that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The server is a replica now.
    Demoted,
    /// It is a master, and in another run.
    Renewed,
}

/// Whether a master accepts writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Good,
    /// It has none of the replicas that min-replicas-to-write has it want.
    Fenced,
}

impl Health {
    /// Reads the section `replication` of INFO.
    pub(crate) fn read(replication: &str) -> Self {
        // Not said where none are wanted.
        match field(replication, "min_slaves_good_slaves") {
            Some("0") => Self::Fenced,
            _ => Self::Good,
        }
    }
}

/// A field of INFO.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}
