//! The commands of `fanfare.v1`, their replies and their faults, in both formats.

mod history;
mod joining;
mod order;
mod publishing;
mod replies;

use serde_json::{Value, json};

fn publish(room: &str, data: &Value) -> Value {
    json!({"type": "publish", "room": room, "data": data})
}

fn with_id(mut command: Value, id: u64) -> Value {
    command["id"] = id.into();
    command
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(Value::from).collect()
}
