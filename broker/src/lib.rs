//! Hub, rooms, outboxes, and the backends that link nodes.
