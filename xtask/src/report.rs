//! The numbers of `bench.json` as a table that a person can read, and that fits into a README.

use serde_json::Value;

/// The goals of the project on its 2-core machine; see the README.
const GOAL_RUNS_PER_SECOND: f64 = 8_000.0;
const GOAL_P50_MS: f64 = 1.0;
const GOAL_CALL_RATIO: f64 = 2.0;
const GOAL_REST_MB: f64 = 100.0;
const GOAL_REPLAYS_PER_SECOND: f64 = 5_000.0;
const GOAL_LIST_P99_MS: f64 = 20.0;
const GOAL_PAINT_MS: f64 = 200.0;

/// A measurement, its value, and what to compare it with.
struct Row(String, String, String);

/// The table, in Markdown.
pub(crate) fn table(results: &Value) -> String {
    let machine = &results["machine"];
    let text = |name: &str| machine[name].as_str().unwrap_or("unknown").to_owned();
    let mut lines = format!(
        "{}, {} cores, {}; {}; commit {}; {}{}\n\n",
        text("cpu"),
        machine["cores"],
        text("kernel"),
        text("date"),
        text("commit"),
        text("rustc"),
        if machine["quick"] == true { "; QUICK: too short to be quoted" } else { "" },
    );
    let rows: Vec<Row> = [
        calls,
        alone,
        runs,
        batches,
        memory,
        history,
        lists,
        subscribe,
        waits,
        journal,
        children,
        replays,
        page,
        deployments,
    ]
    .into_iter()
    .flat_map(|section| section(results))
    .collect();
    let width = |cell: fn(&Row) -> &String| rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0);
    let widths = [width(|row| &row.0), width(|row| &row.1), width(|row| &row.2)];
    let [first, second, third] = widths;
    lines += &format!("| {:first$} | {:second$} | {:third$} |\n", "measured", "value", "beside it");
    let rule = widths.map(|width| "-".repeat(width));
    lines += &format!("| {} | {} | {} |\n", rule[0], rule[1], rule[2]);
    for Row(what, value, beside) in &rows {
        lines += &format!("| {what:first$} | {value:second$} | {beside:third$} |\n");
    }
    lines
}

fn calls(results: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for (part, cores) in [("one", "one at a time"), ("allCores", "on all cores")] {
        let result = &results["calls"][part];
        let (Some(bare), Some(ours)) = (p50_us(&result["bare"]), p50_us(&result["sandbox"])) else {
            continue;
        };
        rows.push(Row(
            format!("wasmtime alone: instantiate, call, drop, {cores}"),
            spread_us(&result["bare"]),
            per_second(&result["bare"]),
        ));
        rows.push(Row(
            format!("the sandbox: the same with all limits, {cores}"),
            spread_us(&result["sandbox"]),
            format!(
                "{}; {:.2}x wasmtime alone{}",
                per_second(&result["sandbox"]),
                ours / bare,
                goal(part == "one", ours / bare <= GOAL_CALL_RATIO, "2x at most"),
            ),
        ));
    }
    rows
}

fn alone(results: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for (section, what) in [("http", "axum alone: JSON echo"), ("commits", "SQLite alone: three durable records a run")]
    {
        for part in ["one", "many"] {
            let result = &results[section][part];
            if p50_us(result).is_some() {
                let concurrency = &result["concurrency"];
                rows.push(Row(format!("{what}, concurrency {concurrency}"), spread_ms(result), per_second(result)));
            }
        }
    }
    rows
}

fn runs(results: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for part in ["one", "many"] {
        let result = &results["runs"][part];
        let Some(p50) = p50_us(result) else { continue };
        let rate = result["perSecond"].as_f64().unwrap_or_default();
        let parts: Option<f64> = [&results["http"][part], &results["commits"][part]]
            .into_iter()
            .map(p50_us)
            .chain([p50_us(&results["calls"]["one"]["bare"])])
            .sum();
        let ratio = match (part, parts) {
            ("one", Some(parts)) => format!("; {:.2}x the sum of the parts alone", p50 / parts),
            _ => String::new(),
        };
        let verdict = match part {
            "one" => goal(true, p50 / 1e3 < GOAL_P50_MS, "p50 under 1 ms"),
            _ => goal(true, rate >= GOAL_RUNS_PER_SECOND, "8,000/s at least"),
        };
        rows.push(Row(
            format!("trigger to finished over HTTP, durable, concurrency {}", result["concurrency"]),
            spread_ms(result),
            format!("{}{ratio}{verdict}", per_second(result)),
        ));
    }
    rows
}

fn batches(results: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    let (singly, batched) = (&results["batches"]["singly"], &results["batches"]["batched"]);
    for part in ["one", "many"] {
        let result = &singly[part];
        if p50_us(result).is_some() {
            let what = format!("runs accepted, triggered singly, concurrency {}", result["concurrency"]);
            rows.push(Row(what, spread_ms(result), per_second(result)));
        }
    }
    for part in ["one", "many"] {
        let result = &batched[part];
        let (Some(items), Some(alone)) = (result["itemsPerSecond"].as_f64(), singly[part]["perSecond"].as_f64()) else {
            continue;
        };
        rows.push(Row(
            format!("runs accepted in batches of {}, concurrency {}", result["items"], result["concurrency"]),
            format!("{} a batch", spread_ms(result)),
            format!("{} items; {:.1}x the rate singly", rate(items), items / alone),
        ));
    }
    rows
}

fn memory(results: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(rest) = megabytes(&results["runs"]["residentBytesAtRest"]) {
        rows.push(Row(
            "resident memory at rest, one deployment".into(),
            format!("{rest:.0} MB"),
            goal(true, rest < GOAL_REST_MB, "under 100 MB").trim_start_matches("; ").into(),
        ));
    }
    if let Some(after) = megabytes(&results["runs"]["residentBytesAfterLoad"]) {
        rows.push(Row("resident memory after that load".into(), format!("{after:.0} MB"), String::new()));
    }
    let queue = &results["queue"];
    if let (Some(before), Some(after)) =
        (megabytes(&queue["residentBytesBefore"]), megabytes(&queue["residentBytesWithQueue"]))
    {
        rows.push(Row(
            "resident memory with 10,000 queued runs".into(),
            format!("{after:.0} MB"),
            format!("{before:.0} MB before; accepted at {}", per_second(&queue["accepted"])),
        ));
    }
    rows
}

fn history(results: &Value) -> Vec<Row> {
    let history = &results["history"];
    let count = history["inserted"]["runs"].as_u64().unwrap_or_default();
    let mut rows = Vec::new();
    for part in ["one", "many"] {
        let (with, without) = (&history[part], &results["runs"][part]);
        if p50_us(with).is_none() {
            continue;
        }
        let rate = |result: &Value| result["perSecond"].as_f64();
        let ratio = match (rate(with), rate(without)) {
            (Some(with), Some(without)) => {
                format!("; {:.2}x the rate without them", with / without)
            }
            _ => String::new(),
        };
        rows.push(Row(
            format!("the same with {count} finished runs, concurrency {}", with["concurrency"]),
            spread_ms(with),
            format!("{}{ratio}", per_second(with)),
        ));
    }
    if let Some(start) = history["startMs"].as_f64() {
        rows.push(Row("start of the server with that database".into(), format!("{start:.0} ms"), String::new()));
    }
    rows
}

fn lists(results: &Value) -> Vec<Row> {
    let count = results["history"]["inserted"]["runs"].as_u64().unwrap_or_default();
    let Some(lists) = results["history"]["lists"].as_object() else {
        return Vec::new();
    };
    let row = |(filter, result): (&String, &Value)| {
        let p99_ms = result["p99Us"].as_f64().unwrap_or_default() / 1e3;
        let first_ms = result["firstUs"].as_f64().unwrap_or_default() / 1e3;
        let reached = goal(true, p99_ms < GOAL_LIST_P99_MS, "p99 under 20 ms");
        Row(
            format!("first page of {count} runs, filter: {filter}"),
            spread_ms(result),
            format!("{} on it; {first_ms:.1} ms the first time{reached}", result["found"]),
        )
    };
    lists.iter().map(row).collect()
}

fn subscribe(results: &Value) -> Vec<Row> {
    let result = &results["subscribe"];
    if p50_us(result).is_none() {
        return Vec::new();
    }
    let seconds = |name: &str| result[name].as_f64().unwrap_or_default();
    let (subscribers, idle) = (&result["subscribers"], seconds("idleSeconds"));
    let share = 100.0 * seconds("idleCpuSeconds") / idle.max(f64::MIN_POSITIVE);
    vec![
        Row(
            format!("{subscribers} subscribers of a run: from a change until all have heard"),
            spread_ms(result),
            format!("{} changes, one after another", result["count"]),
        ),
        Row(
            format!("the server's CPU while {subscribers} subscribers idle"),
            format!("{share:.1} % of a core"),
            format!("{:.2} s in {idle:.0} s", seconds("idleCpuSeconds")),
        ),
    ]
}

fn waits(results: &Value) -> Vec<Row> {
    let waits = &results["waits"];
    let mut rows = Vec::new();
    for (part, how) in [("resumeParked", "stayed in memory"), ("resumeDropped", "was dropped, from its journal")] {
        if p50_us(&waits[part]).is_some() {
            let what = format!("from a wake-up until the guest's code runs; the guest {how}");
            rows.push(Row(what, spread_ms(&waits[part]), "HTTP included".into()));
        }
    }
    for (part, how) in [("parked", "stays in memory"), ("dropped", "was dropped")] {
        let (Some(before), Some(after), Some(runs)) = (
            waits[part]["residentBytesBefore"].as_f64(),
            waits[part]["residentBytesAfter"].as_f64(),
            waits[part]["runs"].as_f64(),
        ) else {
            continue;
        };
        let per_run = (after - before).max(0.0) / runs / 1e3;
        let beside = format!("{:.0} MB with {runs} of them, {:.0} MB without", after / 1e6, before / 1e6);
        rows.push(Row(format!("memory of a waiting run whose guest {how}"), format!("{per_run:.1} kB"), beside));
    }
    rows
}

fn journal(results: &Value) -> Vec<Row> {
    let journal = &results["journal"];
    let mut rows = Vec::new();
    for (asks, what) in [(false, "asks for nothing"), (true, "asks for time, chance and a variable")] {
        let of_kind = journal["rounds"].as_array().into_iter().flatten().filter(|round| round["asks"] == asks);
        let ratios =
            of_kind.filter_map(|round| Some(round["on"]["perSecond"].as_f64()? / round["off"]["perSecond"].as_f64()?));
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        if let Some(median) = ratios.get(ratios.len() / 2) {
            let beside = format!("runs/s with journals by those without, {} rounds", ratios.len());
            rows.push(Row(format!("recording a run that {what}"), format!("{median:.2}x"), beside));
        }
    }
    if let Some(bytes) = journal["http"]["bytesPerCall"].as_u64() {
        let beside = format!("{} bytes without any call", journal["http"]["journalBytes"]);
        rows.push(Row("journal of an HTTP call with a short answer".into(), format!("{bytes} bytes"), beside));
    }
    rows
}

fn children(results: &Value) -> Vec<Row> {
    let children = &results["children"];
    let alone = children["alone"]["perSecond"].as_f64().unwrap_or_default();
    let mut rows = Vec::new();
    for part in ["one", "many"] {
        let result = &children[part];
        if p50_us(result).is_some() {
            let what = format!("a run with a child that it waits for, concurrency {}", result["concurrency"]);
            let beside = format!("{}; {} without children at 64", per_second(result), rate(alone));
            rows.push(Row(what, spread_ms(result), beside));
        }
    }
    rows
}

fn replays(results: &Value) -> Vec<Row> {
    let replays = &results["replays"];
    let rounds = replays["rounds"].as_array().into_iter().flatten();
    let mut rates: Vec<f64> =
        rounds.filter_map(|round| Some(round["done"].as_f64()? / round["seconds"].as_f64()?)).collect();
    rates.sort_by(f64::total_cmp);
    let (Some(median), Some(bare)) =
        (rates.get(rates.len() / 2).copied(), replays["calls"]["bare"]["perSecond"].as_f64())
    else {
        return Vec::new();
    };
    let reached = if median >= GOAL_REPLAYS_PER_SECOND { "goal 5,000/s: reached" } else { "goal 5,000/s: missed" };
    let beside = format!("{:.2} of wasmtime alone ({}); {reached}", median / bare, rate(bare));
    let gate = format!("{:.1} s", replays["gateMs"].as_f64().unwrap_or_default() / 1e3);
    vec![
        Row(format!("replays in the sandbox, compared and recorded, {} rounds", rates.len()), rate(median), beside),
        Row("from `deploy` to promoted, through a gate of 1,000 runs".into(), gate, "compiling included".into()),
    ]
}

fn page(results: &Value) -> Vec<Row> {
    let page = &results["page"];
    let count = page["inserted"]["runs"].as_u64().unwrap_or_default();
    let visits = [("without the browser's cache", "cold"), ("with it", "warm")];
    let row = |(how, name): (&str, &str)| {
        let seen = &page["seen"][name];
        let paint = seen["paintMs"]["p50"].as_f64()?;
        let (rows, kb) = (seen["rowsMs"]["p50"].as_f64()?, seen["bytes"].as_f64()? / 1e3);
        let reached = if paint <= GOAL_PAINT_MS { "reached" } else { "missed" };
        let beside = format!("rows {rows:.0} ms, {kb:.0} kB; goal 200 ms: {reached}");
        Some(Row(format!("first paint of the list of {count} runs, {how}"), format!("p50 {paint:.0} ms"), beside))
    };
    visits.into_iter().filter_map(row).collect()
}

fn deployments(results: &Value) -> Vec<Row> {
    let deployments = &results["deployments"];
    let Some(count) = deployments["count"].as_u64() else {
        return Vec::new();
    };
    let kib = deployments["componentBytes"].as_f64().unwrap_or_default() / 1024.0;
    let row = |what: String, name: &str, beside: String| {
        let value = |quantile: &str| deployments[name][quantile].as_f64().unwrap_or_default();
        Row(what, format!("p50 {:.0} ms, p99 {:.0} ms", value("p50"), value("p99")), beside)
    };
    vec![
        row("deploying a component nobody has seen".into(), "uploadMs", format!("{kib:.0} KiB, {count} times")),
        row(format!("start of the server with {count} deployments"), "coldStartMs", "to ready, 5 times".into()),
        row("the first run after that".into(), "firstRunMs", "trigger to finished".into()),
    ]
}

fn p50_us(result: &Value) -> Option<f64> {
    result["p50Us"].as_f64()
}

fn spread_us(result: &Value) -> String {
    let us = |name: &str| result[name].as_f64().unwrap_or_default();
    format!("p50 {:.1} µs, p99 {:.1} µs", us("p50Us"), us("p99Us"))
}

fn spread_ms(result: &Value) -> String {
    let ms = |name: &str| result[name].as_f64().unwrap_or_default() / 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms", ms("p50Us"), ms("p99Us"))
}

fn per_second(result: &Value) -> String {
    rate(result["perSecond"].as_f64().unwrap_or_default())
}

fn rate(per_second: f64) -> String {
    let rate = per_second.round() as u64;
    match rate {
        0..1_000 => format!("{rate}/s"),
        _ => format!("{},{:03}/s", rate / 1_000, rate % 1_000),
    }
}

fn megabytes(bytes: &Value) -> Option<f64> {
    Some(bytes.as_f64()? / 1e6)
}

fn goal(applies: bool, reached: bool, goal: &str) -> String {
    match (applies, reached) {
        (false, _) => String::new(),
        (true, true) => format!("; goal reached: {goal}"),
        (true, false) => format!("; GOAL MISSED: {goal}"),
    }
}
