//! Exits with the status `code`.

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Exit {
    code: i32,
}

fn exit(_: &Context, exit: Exit) -> Result<()> {
    std::process::exit(exit.code)
}

dacapo::tasks![task("exit", exit)];
