//! Which clients share a connection: one program that is in several rooms.

use fastrand::Rng;

use super::client::Client;

/// The clients' numbers, those together that share a connection; no two of them are of one room.
pub(crate) struct Programs(Vec<Vec<usize>>);

impl Programs {
    /// Draws some: about every second client joins one that there is, if that is not in its room.
    pub(crate) fn random(clients: &[Client], rng: &mut Rng) -> Self {
        let mut programs: Vec<Vec<usize>> = Vec::new();
        for client in clients {
            let is_there = |number: &usize| clients[*number].room.name == client.room.name;
            let mut others = programs.iter_mut();
            match others.find(|program| !program.iter().any(is_there)) {
                Some(program) if rng.bool() => program.push(client.number),
                _ => programs.push(vec![client.number]),
            }
        }
        Self(programs)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[usize]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// All that share a client's connection, and itself.
    pub(crate) fn of(&self, number: usize) -> &[usize] {
        let mut programs = self.iter();
        let program = programs.find(|program| program.contains(&number));
        program.expect("each client is in one")
    }
}
