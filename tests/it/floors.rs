//! The house's invariants that can be read off the source.

use std::path::{Path, PathBuf};

/// The modules of the runtime and the floor each stands on. A module may import only lower floors.
/// `clock` and `secrets` are below everything that talks to the outside.
const FLOORS: &[(&str, u32)] = &[
    ("model", 0),
    ("clock", 1),
    ("payload_schema", 1),
    ("secrets", 1),
    ("api", 2),
    ("artifacts", 2),
    ("config", 2),
    ("sandbox", 2),
    ("storage", 2),
    ("context", 3),
    ("deploy", 3),
    ("edits", 3),
    ("keys", 3),
    ("packets", 3),
    ("runs", 3),
    ("selection", 3),
    ("waitpoints", 3),
    ("backtest", 4),
    ("schedules", 4),
    ("bulk", 4),
    ("http", 5),
    ("worker", 5),
    ("app", 6),
    ("cli", 7),
];

fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/src")
}

/// Every file below a directory.
fn files_below(dir: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Every source file of the runtime with the module it belongs to.
fn sources() -> Vec<(String, PathBuf, String)> {
    let source = |path: PathBuf| {
        let within = path.strip_prefix(source_dir()).unwrap().to_owned();
        let module = within.components().next().unwrap().as_os_str().to_str().unwrap();
        (module.trim_end_matches(".rs").to_owned(), within, std::fs::read_to_string(&path).unwrap())
    };
    let found: Vec<_> = files_below(source_dir()).into_iter().map(source).collect();
    assert!(found.len() > 50, "the source is not where this test looks for it");
    found
}

/// The code of a file without comments and without its unit tests.
fn code(source: &str) -> String {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn floor_of(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The modules that `use crate::…` and paths of the form `crate::…` name.
fn imports(code: &str) -> Vec<String> {
    let mut imported = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = &group[..group.find("};").expect("a group ends")];
            let mut depth = 0;
            for item in group.split_inclusive(['{', '}', ',']) {
                let name = item.trim().split([':', ',', '{', '}', ' ']).next().unwrap_or_default();
                if depth == 0 && !name.is_empty() {
                    imported.push(name.to_owned());
                }
                depth += item.matches('{').count() as i32 - item.matches('}').count() as i32;
            }
        } else {
            let name: String = rest.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
            imported.push(name);
        }
    }
    imported
}

#[test]
fn a_module_imports_only_lower_floors() {
    let mut wrong = Vec::new();
    for (module, path, source) in sources() {
        if module == "lib" || module == "main" {
            continue;
        }
        let floor = floor_of(&module).unwrap_or_else(|| panic!("module {module} is missing from FLOORS"));
        for import in imports(&code(&source)) {
            let allowed = import == module || floor_of(&import).is_none_or(|other| other < floor);
            if !allowed {
                wrong.push(format!("{}: imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_outside_world_has_one_place() {
    let places: &[(&[&str], &[&str])] = &[
        (&["rusqlite"], &["storage"]),
        (&["utoipa::"], &["api", "http"]),
        (&["wasmtime::", "wasmtime_wasi"], &["sandbox"]),
        (&["use axum"], &["http", "app"]),
        (&["serde::", "derive(Serialize", "derive(Deserialize"], &["api", "http", "cli", "config"]),
        (&["Timestamp::now", "SystemTime::now", "Zoned::now"], &["clock", "cli"]),
        (&["getrandom::"], &["secrets"]),
    ];
    let mut wrong = Vec::new();
    for (module, path, source) in sources() {
        let code = code(&source);
        for (words, allowed) in places {
            let found = words.iter().find(|word| code.contains(*word));
            if let Some(word) = found.filter(|_| !allowed.contains(&module.as_str())) {
                wrong.push(format!("{}: names {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_model_knows_no_outside_world() {
    let foreign = ["serde", "tokio", "std::fs", "std::net::Tcp", "async ", "std::time::Instant", "std::env"];
    for (module, path, source) in sources() {
        if module == "model" {
            let code = code(&source);
            let found = foreign.iter().find(|word| code.contains(*word));
            assert!(found.is_none(), "{}: names {found:?}", path.display());
        }
    }
}

#[test]
fn a_status_changes_only_where_it_is_guarded_and_recorded() {
    for (module, path, source) in sources() {
        if module != "storage" {
            continue;
        }
        let code = code(&source);
        for (at, _) in code.match_indices("SET    status = ") {
            let rest = &code[at..];
            let function = &rest[..rest.find("\n}\n").unwrap_or(rest.len())];
            let statement = &function[..function.find("\";").or_else(|| function.find(");")).unwrap_or(function.len())];
            assert!(statement.contains("WHERE"), "{}: a change without a guard: {statement}", path.display());
            let guarded = statement.contains("status = '") && statement.matches("status").count() > 1
                || statement.contains("status IN");
            assert!(guarded, "{}: a change that does not repeat the expected status: {statement}", path.display());
            assert!(
                function.contains("add_event") || function.contains("release_parked"),
                "{}: a change without an event: {statement}",
                path.display()
            );
        }
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    for (_, path, source) in sources() {
        let lines = source.lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_guest_has_a_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("it");
    let text: String = files_below(tests).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let guests = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lib.rs"));
    assert!(guests.contains("guests.rs"));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    for (dir, extension) in [(dir.join("examples"), "rs"), (dir, "wat")] {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|own| own == extension) {
                let name = path.file_stem().unwrap().to_str().unwrap().to_uppercase();
                assert!(text.contains(&format!("guests::{name}")), "no test uses the guest {name}");
            }
        }
    }
}
