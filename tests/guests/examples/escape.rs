//! Tries to leave `/scratch`: for every path of the payload (`{"path": […]}`, or a list of its
//! own) what reading, listing, writing and linking it gave.

use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::io;

use dacapo::prelude::*;

const PATHS: &[&str] = &[
    "..",
    "/",
    "/etc",
    "/etc/passwd",
    "../etc/passwd",
    "/scratch/..",
    "/scratch/../etc/passwd",
    "/scratch/../../../../etc/passwd",
    "/proc/self/environ",
    "/tmp/escaped",
    "//etc/passwd",
    "/scratch/./../etc/passwd",
    "/dev/null",
];

#[derive(Deserialize, Default)]
struct Escape {
    path: Option<Vec<String>>,
}

fn escape(_: &Context, escape: Option<Escape>) -> Result<Value> {
    let paths = escape.unwrap_or_default().path;
    let paths = paths.unwrap_or_else(|| PATHS.iter().map(|path| path.to_string()).collect());
    let mut results = dacapo::serde_json::Map::new();
    for (number, path) in paths.iter().enumerate() {
        let link = format!("/scratch/link-{number}");
        let linked = symlink(path, &link);
        let result = json!({
            "read": text(fs::read(path).map(|bytes| bytes.len())),
            "list": text(fs::read_dir(path).map(Iterator::count)),
            "write": text(fs::write(format!("{path}/escaped"), "x").map(|()| 1)),
            "overwrite": text(fs::OpenOptions::new().append(true).open(path).map(|_| 0)),
            "rename": text(fs::write("/scratch/x", "x").and_then(|()| fs::rename("/scratch/x", format!("{path}/x"))).map(|()| 1)),
            "hardLink": text(fs::hard_link(path, format!("/scratch/hard-{number}")).map(|()| 1)),
            "symlink": text(linked.map(|()| 0)),
            "readThroughSymlink": text(fs::read(&link).map(|bytes| bytes.len())),
            "listThroughSymlink": text(fs::read_dir(&link).map(Iterator::count)),
            "writeThroughSymlink": text(fs::write(format!("{link}/escaped"), "x").map(|()| 1)),
        });
        results.insert(path.clone(), result);
    }
    Ok(Value::Object(results))
}

/// `std::os::wasi` is not stable; this is the function of the C library below it.
fn symlink(target: &str, link: &str) -> io::Result<()> {
    unsafe extern "C" {
        fn symlink(target: *const c_char, link: *const c_char) -> c_int;
    }
    let (target, link) = (CString::new(target)?, CString::new(link)?);
    // SAFETY: both texts end with a zero byte and outlive the call.
    match unsafe { symlink(target.as_ptr(), link.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `ok …` or `error …`.
fn text(result: io::Result<usize>) -> String {
    match result {
        Ok(count) => format!("ok {count}"),
        Err(error) => format!("error {error}"),
    }
}

dacapo::tasks![task("escape", escape)];
