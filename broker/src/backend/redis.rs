//! The backend of many nodes.
