//! Does the operations on metadata that the payload lists, for example
//! `[{"op": "set", "key": "a", "value": 1}]`; returns what each gave, and all metadata at the end.

use dacapo::prelude::*;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
enum Op {
    Set {
        key: String,
        value: Value,
    },
    Get {
        key: String,
    },
    Delete {
        key: String,
    },
    Append {
        key: String,
        value: Value,
    },
    Remove {
        key: String,
        value: Value,
    },
    Increment {
        key: String,
        by: f64,
    },
    Update {
        value: Value,
    },
    /// Sets a text of so many letters.
    Fill {
        key: String,
        bytes: usize,
    },
    Sleep {
        ms: u64,
    },
    Fail,
    Trap,
}

fn meta(_: &Context, ops: Vec<Op>) -> Result<Value> {
    let mut results = Vec::new();
    for op in ops {
        let result = match op {
            Op::Get { key } => metadata::get::<Value>(&key).map(|value| json!({ "value": value })),
            Op::Set { key, value } => metadata::set(&key, &value).map(|()| json!("ok")),
            Op::Delete { key } => metadata::delete(&key).map(|()| json!("ok")),
            Op::Append { key, value } => metadata::append(&key, &value).map(|()| json!("ok")),
            Op::Remove { key, value } => metadata::remove(&key, &value).map(|()| json!("ok")),
            Op::Increment { key, by } => metadata::increment(&key, by).map(|()| json!("ok")),
            Op::Update { value } => metadata::update(&value).map(|()| json!("ok")),
            Op::Fill { key, bytes } => metadata::set(&key, "x".repeat(bytes)).map(|()| json!("ok")),
            Op::Sleep { ms } => {
                std::thread::sleep(std::time::Duration::from_millis(ms));
                Ok(json!("ok"))
            }
            Op::Fail => return Err(TaskError::new("Told", "failed as told")),
            Op::Trap => panic!("trapped as told"),
        };
        results.push(result.unwrap_or_else(|error| json!({ "error": error.to_string() })));
    }
    Ok(json!({ "results": results, "all": metadata::all()? }))
}

dacapo::tasks![task("meta", meta)];
