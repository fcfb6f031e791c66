//! Comparisons of replays with their source runs: what differs, what rules overlook, and the verdict.

use std::time::Duration;

use dacapo::api::{Change, Comparison};
use dacapo::backtest::compare::{compare, diff, from_stored, headline, printable, text, to_stored};
use dacapo::backtest::rules::{Rules, TaskRules};
use dacapo::model::attempt::Usage;
use dacapo::model::limits::MAX_COMPARISON_BYTES;
use dacapo::model::mask::Mask;
use dacapo::model::replay::{AnsweredBy, ChildEffects, Effect, EffectKind, LogCounts, Observed, ObservedEnd};
use dacapo::model::run::ErrorKind;
use dacapo::model::verdict::Verdict;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Value, json};

fn rules(task: Value) -> TaskRules {
    Rules::parse(&json!({ "t": task }).to_string()).unwrap().task("t").clone()
}

/// Paths with what was and what is there.
fn differences(then: &Value, now: &Value, task: Value) -> Vec<(String, Option<String>, Option<String>)> {
    let rules = rules(task);
    let changes = diff(&then.to_string(), &now.to_string(), &rules.ignore_output, &rules, &Mask::default());
    assert_eq!(changes.more, 0);
    changes.items.into_iter().map(|Change { path, before, after }| (path, before, after)).collect()
}

#[track_caller]
fn check(then: Value, now: Value, task: Value, expected: &[(&str, Option<&str>, Option<&str>)]) {
    let found = differences(&then, &now, task);
    let found: Vec<_> = found.iter().map(|(path, was, is)| (path.as_str(), was.as_deref(), is.as_deref())).collect();
    assert_eq!(found, expected, "{then} and {now}");
}

#[test]
fn differences_are_shown_where_they_are() {
    check(json!({ "a": 1, "b": [1] }), json!({ "b": [1], "a": 1 }), json!({}), &[]);
    check(json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2 } }), json!({}), &[("$.a.b", Some("1"), Some("2"))]);
    check(json!({ "a": 1 }), json!({ "b": 1 }), json!({}), &[("$.a", Some("1"), None), ("$.b", None, Some("1"))]);
    check(
        json!([1, { "x y": "a" }]),
        json!([1, { "x y": "b" }]),
        json!({}),
        &[("$[1][\"x y\"]", Some("\"a\""), Some("\"b\""))],
    );
    check(json!(null), json!({}), json!({}), &[("$", Some("null"), Some("{}"))]);
    check(json!(1), json!(1.0), json!({}), &[("$", Some("1"), Some("1.0"))]);
    check(
        json!(u64::MAX),
        json!(u64::MAX - 1),
        json!({}),
        &[("$", Some("18446744073709551615"), Some("18446744073709551614"))],
    );
}

#[test]
fn an_inserted_element_is_one_difference() {
    let many: Vec<Value> = (0..1_000).map(|n| json!({ "id": n, "kind": n % 7 })).collect();
    let mut front = many.clone();
    front.insert(0, json!("new"));
    check(json!(many), json!(front), json!({}), &[("$[0]", None, Some("\"new\""))]);
    check(json!(front), json!(many), json!({}), &[("$[0]", Some("\"new\""), None)]);
    let mut changed = front.clone();
    changed[501]["kind"] = json!("odd");
    changed.remove(990);
    check(
        json!(many),
        json!(changed),
        json!({}),
        &[
            ("$[0]", None, Some("\"new\"")),
            ("$[500].kind", Some("3"), Some("\"odd\"")),
            ("$[989]", Some("{\"id\":989,\"kind\":2}"), None),
        ],
    );
    check(json!([1, 2, 2]), json!([2, 2, 2]), json!({}), &[("$[0]", Some("1"), Some("2"))]);
    let near = json!({ "absolute-tolerance": 0.5 });
    check(json!([1, 2, 3, 4]), json!([9, 1.25, 2.25, 3.25, 4.25]), near, &[("$[0]", None, Some("9"))]);
}

#[test]
fn rules_overlook_what_they_name() {
    let then = json!({ "at": 1, "lines": [{ "id": 1, "sum": 10 }, { "id": 2, "sum": 20 }], "n": { "etag": "a" } });
    let now = json!({ "at": 2, "lines": [{ "id": 8, "sum": 10 }, { "id": 9, "sum": 21 }], "n": { "etag": "b" } });
    let ignore = json!(["$.at", "$.lines[*].id", "$..etag"]);
    check(then.clone(), now.clone(), json!({ "ignore-output": ignore }), &[("$.lines[1].sum", Some("20"), Some("21"))]);
    check(then.clone(), now.clone(), json!({ "ignore-output": ignore, "relative-tolerance": 0.05 }), &[]);
    check(then, now, json!({ "ignore-output": ["$"] }), &[]);
    let then = json!({ "tags": [{ "k": 1, "t": 5 }, { "k": 2, "t": 6 }, { "k": 3, "t": 7 }] });
    let now = json!({ "tags": [{ "k": 3, "t": 0 }, { "k": 1, "t": 1 }, { "k": 4, "t": 2 }] });
    let unordered = json!({ "unordered-arrays": ["$.tags"], "ignore-output": ["$.tags[*].t"] });
    check(then, now, unordered, &[("$.tags[1].k", Some("2"), Some("4"))]);
    let near = json!({ "unordered-arrays": ["$"], "absolute-tolerance": 0.1 });
    check(json!([3, 1, 2]), json!([1.01, 2.01, 3.01]), near.clone(), &[]);
    check(json!([3, 1, 2]), json!([1.01, 5, 3.01]), near, &[("$[2]", Some("2"), Some("5"))]);
}

#[test]
fn hostile_outputs_are_compared_too() {
    let deep = |inside: &str| format!("{}{inside}{}", "[".repeat(100_000), "]".repeat(100_000));
    let none = TaskRules::default();
    assert!(diff(&deep("1"), &deep("1"), &[], &none, &Mask::default()).is_empty());
    let changes = diff(&deep("1"), &deep("2"), &[], &none, &Mask::default());
    assert_eq!((changes.total(), changes.items[0].path.as_str()), (1, "$"));
    assert!(changes.items[0].after.as_ref().unwrap().contains("[2]"));
    let numbers = |from: u32| json!((from..from + 100_000).collect::<Vec<_>>()).to_string();
    let changes = diff(&numbers(0), &numbers(1_000_000), &[], &none, &Mask::default());
    assert_eq!((changes.items.len(), changes.total()), (100, 100_000));
    let name = "\u{1b}[2J".repeat(100_000);
    let changes =
        diff(&json!({ (&name): [1] }).to_string(), &json!({ (&name): [2] }).to_string(), &[], &none, &Mask::default());
    assert!(changes.items[0].path.len() < 1_000);
    assert!(!diff("1e999", "2e999", &[], &none, &Mask::default()).is_empty());
}

fn completed(output: Value) -> Observed {
    Observed {
        end: ObservedEnd::Completed(output.to_string()),
        effects: Vec::new(),
        children: Vec::new(),
        logs: LogCounts::default(),
        metadata: "{}".to_owned(),
        metadata_digest: 0,
        usage: usage(10, 1),
        new_variables: Vec::new(),
        secrets: Mask::default(),
    }
}

fn failed(kind: ErrorKind, message: &str) -> Observed {
    let end = ObservedEnd::Failed {
        kind,
        name: "Error".to_owned(),
        message: message.to_owned(),
        stack: Some(format!("at {message}")),
    };
    Observed { end, ..completed(json!(null)) }
}

fn usage(cpu_ms: u64, memory_mib: u64) -> Usage {
    let cpu = Duration::from_millis(cpu_ms);
    Usage { cpu, wall: 2 * cpu, peak_memory_bytes: memory_mib << 20 }
}

fn effect(kind: EffectKind, target: &str, digest: u64) -> Effect {
    let (target, arguments) = (target.to_owned(), format!("arguments {digest}"));
    Effect { kind, target, arguments, digest, answered_by: AnsweredBy::Recorded }
}

fn gets(paths: &str) -> Observed {
    let get = |path| effect(EffectKind::Http, &format!("GET https://a.example/{path}"), 0);
    Observed { effects: paths.chars().map(get).collect(), ..completed(json!(1)) }
}

#[test]
fn the_verdict_is_the_first_that_fits() {
    #[track_caller]
    fn check(then: &Observed, now: &Observed, task: Value, expected: Verdict) {
        assert_eq!(compare(then, now, &rules(task)).verdict, expected);
    }
    use ErrorKind::{Crash, OutOfMemory, Task, TimeLimit};
    let (one, two) = (completed(json!(1)), completed(json!(2)));
    let hungry = |observed: &Observed, cpu, memory| Observed { usage: usage(cpu, memory), ..observed.clone() };
    check(&one, &one, json!({}), Verdict::Same);
    check(&one, &two, json!({}), Verdict::OutputChanged);
    check(&one, &two, json!({ "absolute-tolerance": 1 }), Verdict::Same);
    check(&one, &failed(Task, "no"), json!({}), Verdict::NewlyFailing);
    check(&one, &failed(Crash, "no"), json!({}), Verdict::NewlyFailing);
    check(&one, &failed(OutOfMemory, "no"), json!({}), Verdict::OverBudget);
    check(&one, &failed(TimeLimit, "no"), json!({}), Verdict::OverBudget);
    check(&failed(Task, "no"), &two, json!({}), Verdict::Fixed);
    check(&failed(Task, "no"), &hungry(&two, 10, 9), json!({ "max-memory-factor": 2 }), Verdict::Fixed);
    check(&failed(Task, "no"), &failed(Task, "no"), json!({}), Verdict::Same);
    check(&failed(Task, "no"), &failed(Task, "nay"), json!({}), Verdict::OutputChanged);
    check(&failed(Task, "no"), &failed(Task, "nay"), json!({ "ignore-error-message": true }), Verdict::Same);
    check(&failed(Task, "no"), &failed(OutOfMemory, "no"), json!({}), Verdict::OutputChanged);
    check(&one, &hungry(&one, 100, 10), json!({}), Verdict::Same);
    check(&one, &hungry(&one, 10, 2), json!({ "max-memory-factor": 2 }), Verdict::Same);
    check(&one, &hungry(&two, 10, 3), json!({ "max-memory-factor": 2 }), Verdict::OverBudget);
    check(&one, &hungry(&one, 100, 1), json!({ "max-cpu-factor": 2 }), Verdict::OverBudget);
    check(&hungry(&one, 1, 1), &hungry(&one, 5, 1), json!({ "max-cpu-factor": 2 }), Verdict::Same);
    check(&hungry(&one, 0, 0), &hungry(&one, 100, 9), json!({ "max-memory-factor": 2 }), Verdict::Same);
    check(&gets("ab"), &gets("abc"), json!({}), Verdict::EffectsChanged);
    check(&gets("ab"), &gets("ba"), json!({}), Verdict::EffectsChanged);
    check(&gets("ab"), &gets("ba"), json!({ "unordered-effects": true }), Verdict::Same);
    check(&gets("ab"), &gets("a"), json!({ "ignore-effects": ["https://a.example/b"] }), Verdict::Same);
    check(&gets("ab"), &gets("cd"), json!({ "ignore-effects": ["http"] }), Verdict::Same);
    check(&gets("ab"), &completed(json!(2)), json!({}), Verdict::OutputChanged);
    let marked = Observed { metadata: json!({ "step": 3 }).to_string(), metadata_digest: 1, ..one.clone() };
    check(&one, &marked, json!({}), Verdict::EffectsChanged);
    check(&one, &marked, json!({ "ignore-metadata": ["$.step"] }), Verdict::Same);
    let loud = Observed { logs: LogCounts { error: 3, ..LogCounts::default() }, ..one.clone() };
    check(&one, &loud, json!({}), Verdict::Same);
}

#[test]
fn calls_are_added_removed_changed_and_moved() {
    use EffectKind::{Http, Tags, Trigger};
    let get = |url: &str| effect(Http, &format!("GET {url}"), 1);
    let then = Observed {
        effects: vec![
            get("https://a.example/1"),
            get("https://a.example/2"),
            get("https://a.example/3"),
            effect(Trigger, "mail", 1),
            effect(Trigger, "mail", 2),
            effect(Tags, "", 5),
        ],
        ..completed(json!(1))
    };
    let mut stranger = get("https://B.example/");
    stranger.answered_by = AnsweredBy::Unmatched;
    let now = Observed {
        effects: vec![
            get("https://a.example/3"),
            get("https://a.example/1"),
            get("https://a.example/2"),
            effect(Trigger, "mail", 2),
            effect(Trigger, "mail", 3),
            stranger,
        ],
        ..completed(json!(1))
    };
    let effects = compare(&then, &now, &TaskRules::default()).effects;
    let added: Vec<_> = effects.added.items.iter().map(|call| call.target.as_str()).collect();
    assert_eq!(added, ["GET https://B.example/"]);
    assert_eq!(effects.unmatched.items, effects.added.items);
    assert_eq!(effects.new_hosts.items, ["b.example"]);
    assert_eq!((effects.removed.total(), effects.removed.items[0].kind.as_str()), (1, "tags"));
    let changed = &effects.changed.items[..];
    assert_eq!(
        (changed.len(), changed[0].before.as_str(), changed[0].after.as_str()),
        (1, "arguments 1", "arguments 3")
    );
    let moved: Vec<_> = effects.reordered.items.iter().map(|call| (call.target.as_str(), call.from, call.to)).collect();
    assert_eq!(effects.matched, 4, "three requests and a run");
    assert_eq!(moved, [("GET https://a.example/3", 3, 1), ("mail", 4, 5)]);
    let listed = compare(&then, &now, &TaskRules::default());
    assert_eq!(listed.verdict, Verdict::EffectsChanged);
    // Rules hide no stranger.
    let effects = compare(&then, &now, &rules(json!({ "ignore-effects": ["http", "trigger", "tags"] }))).effects;
    assert_eq!((effects.added.total(), effects.new_hosts.total(), effects.unmatched.total()), (0, 1, 1));
}

/// Whoever calls somebody new, or gets no answer, does not do the same, whatever else comes of it.
#[test]
fn strangers_and_unmatched_calls_are_differences_unless_rules_ignore_them() {
    use EffectKind::{Environment, Http};
    #[track_caller]
    fn check(then: &Observed, now: &Observed, task: Value, expected: Verdict) {
        assert_eq!(compare(then, now, &rules(task)).verdict, expected);
    }
    let with = |observed: &Observed, effect: Effect| {
        let effects = observed.effects.iter().cloned().chain([effect]).collect();
        Observed { effects, ..observed.clone() }
    };
    let unmatched = |effect: Effect| Effect { answered_by: AnsweredBy::Unmatched, ..effect };
    let get = || effect(Http, "GET https://a.example/x", 1);
    let (then, failed) = (gets("ab"), Observed { end: failed(ErrorKind::Task, "no").end, ..gets("ab") });
    // The same call as then, which was answered then and is not now.
    check(&with(&then, get()), &with(&then, unmatched(get())), json!({}), Verdict::EffectsChanged);
    check(&with(&then, get()), &with(&then, unmatched(get())), json!({ "ignore-effects": ["http"] }), Verdict::Same);
    // What nobody answered then either, as where two versions are compared, is the same; a second such call is not.
    let both = with(&then, unmatched(get()));
    check(&both, &both, json!({}), Verdict::Same);
    check(&both, &with(&both, unmatched(get())), json!({}), Verdict::EffectsChanged);
    check(&Observed { end: failed.end.clone(), ..both.clone() }, &both, json!({}), Verdict::Fixed);
    check(&failed, &then, json!({}), Verdict::Fixed);
    check(&failed, &with(&then, get()), json!({}), Verdict::Fixed);
    check(&failed, &with(&then, unmatched(get())), json!({}), Verdict::EffectsChanged);
    let stranger = || effect(Http, "POST https://b.example/", 1);
    check(&failed, &with(&then, stranger()), json!({}), Verdict::EffectsChanged);
    check(&failed, &with(&then, stranger()), json!({ "ignore-effects": ["https://b.example"] }), Verdict::Fixed);
    let variables = unmatched(effect(Environment, "environment variables", 0));
    check(&failed, &with(&then, variables.clone()), json!({}), Verdict::EffectsChanged);
    check(&failed, &with(&then, variables), json!({ "ignore-effects": ["environment"] }), Verdict::Fixed);
}

#[test]
fn what_differs_and_is_not_shown_is_said_and_variables_are_masked() {
    let secret = "open-sesame-7431";
    let call = |key: &str, digest| {
        let arguments = format!("x: {key}");
        Effect { arguments, ..effect(EffectKind::Http, &format!("GET https://a.example/{secret}"), digest) }
    };
    let output = |n: u8| completed(json!({ (secret): n, "text": format!("{n}{secret}") }));
    let one = |n: u8, digest| Observed {
        effects: vec![call(secret, digest)],
        secrets: Mask::new([secret]),
        metadata: json!({ "key": format!("{secret}{n}") }).to_string(),
        metadata_digest: n.into(),
        ..output(n)
    };
    let comparison = compare(&one(1, 1), &one(2, 2), &TaskRules::default());
    let changed = &comparison.effects.changed.items[0];
    assert_eq!(changed.target, "GET https://a.example/[redacted]");
    assert!(changed.after.starts_with("x: [redacted] (what differs is not shown"), "{changed:?}");
    let shown = format!("{comparison:?}{}{}", text(&comparison), to_stored(&comparison));
    assert!(shown.contains("$.[redacted]") || shown.contains("[redacted]"), "{shown}");
    assert!(!shown.contains("sesame"), "{shown}");
    let failed =
        |n: u8| Observed { secrets: Mask::new([secret]), ..failed(ErrorKind::Task, &format!("{n}: {secret}")) };
    let shown = format!("{:?}", compare(&failed(1), &failed(2), &TaskRules::default()));
    assert!(shown.contains("1: [redacted]") && !shown.contains("sesame"), "{shown}");
}

#[test]
fn what_executed_children_do_is_compared_and_listed() {
    let child =
        |then: Option<Vec<Effect>>, now: Vec<Effect>| ChildEffects { task: "leaf".into(), then, now: Some(now) };
    let get = |path: &str| effect(EffectKind::Http, &format!("GET https://a.example/{path}"), 1);
    let unmatched = |path: &str| Effect { answered_by: AnsweredBy::Unmatched, ..get(path) };
    let parent = |children: Vec<ChildEffects>| Observed { children, ..completed(json!(1)) };
    let same = compare(&parent(vec![]), &parent(vec![child(Some(vec![get("a")]), vec![get("a")])]), &rules(json!({})));
    assert_eq!((same.verdict, same.children.total()), (Verdict::Same, 0));
    let other = parent(vec![child(Some(vec![get("a")]), vec![get("a"), unmatched("b")])]);
    let differs = compare(&parent(vec![]), &other, &rules(json!({})));
    assert_eq!((differs.verdict, differs.children.items[0].task.as_str()), (Verdict::EffectsChanged, "leaf"));
    assert_eq!(differs.children.items[0].effects.unmatched.total(), 1);
    assert_eq!(headline(&differs), "in leaf: 1 call added, 1 call not answered");
    assert!(
        text(&differs).contains("executed    leaf:\nadded       http GET https://a.example/b"),
        "{}",
        text(&differs)
    );
    let ignored = compare(&parent(vec![]), &other, &rules(json!({ "ignore-effects": ["http"] })));
    assert_eq!((ignored.verdict, ignored.children.items[0].effects.unmatched.total()), (Verdict::Same, 1));
    // Nothing is on record: all is new. Where both versions executed one, they are compared with each other.
    let unknown = parent(vec![child(None, vec![get("a")])]);
    assert_eq!(compare(&parent(vec![]), &unknown, &rules(json!({}))).verdict, Verdict::EffectsChanged);
    assert_eq!(compare(&unknown, &unknown, &rules(json!({}))).verdict, Verdict::Same);
    let failed = Observed { children: Vec::new(), ..failed(ErrorKind::Task, "no") };
    assert_eq!(compare(&failed, &other, &rules(json!({}))).verdict, Verdict::EffectsChanged);
    assert_eq!(from_stored(&to_stored(&differs)).unwrap(), differs);
    // What was not executed is listed, and nothing more.
    let left_out = parent(vec![ChildEffects { task: "leaf".into(), then: None, now: None }]);
    let same = compare(&parent(vec![]), &left_out, &rules(json!({})));
    assert_eq!((same.verdict, same.children.items[0].not_executed), (Verdict::Same, true));
    assert_eq!(headline(&same), "1 run not executed without a recording");
    assert!(text(&same).contains("not run     leaf, which has no recording"), "{}", text(&same));
    assert_eq!(from_stored(&to_stored(&same)).unwrap(), same);
}

#[test]
fn rules_survive_and_say_what_is_wrong() {
    let text = json!({
        "*": { "ignore-output": ["$.at"], "max-cpu-factor": 3.0, "unordered-effects": true },
        "t": { "ignore-output": ["$.id"], "max-cpu-factor": 2.0, "ignore-effects": ["tags"] },
    });
    let read = Rules::parse(&text.to_string()).unwrap();
    assert_eq!(Rules::parse(&read.to_json()).unwrap(), read);
    assert_eq!(serde_json::from_str::<Value>(&read.to_json()).unwrap(), text);
    let (own, other) = (read.task("t"), read.task("other"));
    assert_eq!((own.ignore_output.len(), own.max_cpu_factor, own.unordered_effects), (2, Some(2.0), true));
    assert_eq!((other.ignore_output.len(), other.max_cpu_factor, other.ignore_effects.len()), (1, Some(3.0), 0));

    #[track_caller]
    fn refused(text: &str, expected: &[&str]) {
        let error = Rules::parse(text).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{error}");
        }
    }
    refused(r#"{"t": {"ignore-outputs": []}}"#, &["ignore-outputs", "ignore-output`", "max-cpu-factor", "line 1"]);
    refused(r#"{"t": {"ignore-output": ["at"]}}"#, &["task `t`", "`ignore-output`", "`at`", "starts with `$`"]);
    refused(r#"{"t": {"ignore-effects": ["mail"]}}"#, &["ignore-effects", "batch-trigger"]);
    refused(r#"{"t": {"relative-tolerance": 2}}"#, &["relative-tolerance", "from 0 to 1"]);
    refused(r#"{"t": {"max-cpu-factor": 0}}"#, &["max-cpu-factor"]);
    refused(r#"{"t": {"unordered-effects": 1}}"#, &["boolean"]);
    refused("[]", &["cannot be read"]);
    refused(&json!({ "t": { "ignore-output": vec!["$.a"; 101] } }).to_string(), &["more than 100 entries"]);
    refused(&json!({ "t": { "ignore-output": [format!("$.{}", "a".repeat(600))] } }).to_string(), &["512 characters"]);
    refused(&json!({ ("t".repeat(200)): {} }).to_string(), &["1 to 128 characters"]);
    refused(&" ".repeat(300_000), &["262144 bytes"]);
}

#[test]
fn a_comparison_is_stored_within_bounds() {
    let hostile = |end: &str| {
        let text = format!("{}{end}", "\u{1}".repeat(400));
        let output: Vec<Value> = (0..500).map(|n| json!({ (format!("{text}{n}")): text })).collect();
        let calls = (0..500).map(|n| effect(EffectKind::Http, &format!("GET https://{text}{n}/"), n));
        Observed {
            effects: calls.collect(),
            metadata: json!({ "m": output }).to_string(),
            metadata_digest: 1,
            ..completed(json!(output))
        }
    };
    let comparison = compare(&hostile("a"), &hostile("b"), &TaskRules::default());
    let text = to_stored(&comparison);
    assert!(text.len() <= MAX_COMPARISON_BYTES);
    let read = from_stored(&text).unwrap();
    assert_eq!(read.verdict, Verdict::OutputChanged);
    assert_eq!(read.output.total(), comparison.output.total());
    assert_eq!(read.effects.added.total(), 500);
    assert!(read.output.more > comparison.output.more && !read.output.items.is_empty());

    let small = compare(&gets("ab"), &failed(ErrorKind::Task, "no"), &TaskRules::default());
    assert_eq!(from_stored(&to_stored(&small)).unwrap(), small);
    let mut before: Value = serde_json::from_str(&to_stored(&small)).unwrap();
    assert_eq!(before["effects"].as_object_mut().unwrap().remove("matched"), Some(json!(0)));
    assert_eq!(from_stored(&before.to_string()).unwrap(), small, "one of an earlier version");
    assert!(from_stored("{}").is_err());
}

#[test]
fn a_comparison_can_be_read_in_a_terminal() {
    let then = Observed { metadata: json!({ "step": 1 }).to_string(), metadata_digest: 1, ..gets("ab") };
    let now = Observed {
        end: ObservedEnd::Completed(json!("\u{1b}[2Jhello\nworld\u{202e}").to_string()),
        logs: LogCounts { warn: 2, ..LogCounts::default() },
        usage: usage(20, 3),
        ..gets("bc")
    };
    let comparison = compare(&then, &now, &TaskRules::default());
    insta::assert_snapshot!(text(&comparison));
    assert_eq!(
        headline(&comparison),
        "1 difference in the output, 1 difference in the metadata, 1 call added, 1 call removed"
    );
    let broken = compare(&then, &failed(ErrorKind::Crash, "\u{1b}[31mred"), &TaskRules::default());
    let shown = text(&broken);
    assert!(headline(&broken).starts_with("fails with Error: \\u{1b}[31mred, "), "{}", headline(&broken));
    assert_eq!(headline(&compare(&then, &then, &TaskRules::default())), "");
    assert!(shown.contains("- completed") && shown.contains("+ crash: Error: \\u{1b}[31mred"), "{shown}");
}

/// Any JSON, with few names and values so that parts of two are often the same.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        (-3_i64..3).prop_map(|n| Value::from(n as f64 / 2.0)),
        "[a-c]{0,2}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map("[a-d. *]{0,2}", inner, 0..5).prop_map(Value::from_iter),
        ]
    })
}

/// The value without what lies at some names, anywhere.
fn without(value: &Value, names: &[&str]) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !names.contains(&name.as_str()));
            Value::from_iter(kept.map(|(name, value)| (name.clone(), without(value, names))))
        }
        Value::Array(elements) => elements.iter().map(|element| without(element, names)).collect(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn there_are_differences_if_and_only_if_values_differ(then in value(), now in value()) {
        let none = TaskRules::default();
        let pretty = serde_json::to_string_pretty(&then).unwrap();
        prop_assert!(diff(&then.to_string(), &pretty, &[], &none, &Mask::default()).is_empty());
        let found = diff(&then.to_string(), &now.to_string(), &[], &none, &Mask::default());
        prop_assert_eq!(found.is_empty(), then == now);
    }

    #[test]
    fn what_is_ignored_never_appears(
        then in value(),
        now in value(),
        names in subsequence(vec!["a", "b", "c"], 1..3),
    ) {
        let ignore: Vec<_> = names.iter().map(|name| format!("$..{name}")).collect();
        let rules = rules(json!({ "ignore-output": ignore }));
        let found = diff(&then.to_string(), &now.to_string(), &rules.ignore_output, &rules, &Mask::default());
        for change in &found.items {
            for name in &names {
                let steps = change.path.split(['.', '[']);
                prop_assert!(!steps.clone().any(|step| step == *name), "{}", change.path);
            }
        }
        prop_assert_eq!(found.is_empty(), without(&then, &names) == without(&now, &names));
    }

    #[test]
    fn the_order_of_unordered_arrays_says_nothing(
        (then, now) in vec(value(), 0..8).prop_flat_map(|then| (Just(then.clone()), Just(then).prop_shuffle())),
        tolerance in prop_oneof![Just(0.0), Just(0.1)],
    ) {
        let rules = rules(json!({ "unordered-arrays": ["$"], "absolute-tolerance": tolerance }));
        let found = diff(&json!(then).to_string(), &json!(now).to_string(), &[], &rules, &Mask::default());
        prop_assert!(found.is_empty(), "{:?}", found);
    }

    #[test]
    fn no_text_breaks_rules_or_terminals(text in any::<String>(), near in "[$.\\[\\]*\"a0]{0,12}") {
        let _ = Rules::parse(&text);
        let _ = Rules::parse(&json!({ "t": { "ignore-output": [near], "ignore-effects": [text] } }).to_string());
        prop_assert!(!printable(&text).contains(char::is_control));
        let none = TaskRules::default();
        prop_assert_eq!(diff(&text, &near, &[], &none, &Mask::default()).is_empty(), text == near);
    }

    #[test]
    fn comparisons_survive_storage(then in value(), now in value()) {
        let comparison: Comparison = compare(&completed(then), &completed(now), &TaskRules::default());
        prop_assert_eq!(from_stored(&to_stored(&comparison)).unwrap(), comparison);
    }
}
