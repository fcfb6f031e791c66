//! Returns the environment variables, the arguments and the working directory.

use std::collections::BTreeMap;

use dacapo::prelude::*;

fn env(_: &Context, _: Value) -> Result<Value> {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let args: Vec<String> = std::env::args().collect();
    let directory = std::env::current_dir().map(|path| path.display().to_string()).ok();
    Ok(json!({ "env": variables, "args": args, "cwd": directory }))
}

dacapo::tasks![task("env", env)];
