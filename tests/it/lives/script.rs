//! What runs do in these stories, and what must come of it.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The queue of the children; few of them have a place at a time.
pub const NARROW: &str = "narrow";
/// On children that may be canceled while somebody waits for them.
pub const LEFT_TO_FATE: &str = "left-to-fate";
/// What tokens are completed with.
pub const WORD: &str = "as told";

/// A child: a number that it gives back, and the seconds that it waits before.
pub type Leaf = (u32, u64);

/// Something that a script does.
#[derive(Debug, Clone)]
pub enum Part {
    Wait(u64),
    Child(Leaf),
    Batch(Vec<Leaf>),
    /// A moment and children.
    All(u64, Vec<Leaf>),
    /// A moment or a child.
    Any(u64, Leaf),
    /// A child that may take too long.
    Within(u64, Leaf),
    /// A token that somebody completes.
    Token,
    /// A token that is over after so many seconds, if nobody completes it.
    TokenWithTimeout(u64),
    /// Clocks, random numbers and a child that must bring them back.
    RoundTrip,
    /// A line at the end of a file.
    File,
    /// Keeps its place for so many milliseconds.
    Work(u64),
}

/// A whole script.
#[derive(Debug, Clone)]
pub struct Script {
    pub parts: Vec<Part>,
    /// Attempts that fail after the parts before it: from 1 on, and their place.
    pub failing: Option<(u32, usize)>,
    /// Whether the last attempt fails too.
    pub fails: bool,
}

fn leaf(&(echo, seconds): &Leaf) -> Value {
    let payload = match seconds {
        0 => json!({ "echo": echo }),
        seconds => json!({ "echo": echo, "wait_ms": seconds * 1_000 }),
    };
    json!({ "task": "leaf", "payload": payload, "queue": NARROW, "tags": [LEFT_TO_FATE] })
}

impl Part {
    /// Its steps.
    fn steps(&self) -> Vec<Value> {
        let wait = |seconds: &u64| json!({ "wait_ms": seconds * 1_000 });
        let child = |one: &Leaf| json!({ "child": leaf(one) });
        let token =
            |timeout: Value| vec![json!({ "create_token": { "timeout_ms": timeout } }), json!({ "token": "$last" })];
        match self {
            Self::Wait(seconds) => vec![wait(seconds)],
            Self::Child(one) => vec![child(one)],
            Self::Batch(leaves) => vec![json!({ "children": leaves.iter().map(leaf).collect::<Vec<_>>() })],
            Self::All(seconds, leaves) => {
                let all: Vec<Value> = std::iter::once(wait(seconds)).chain(leaves.iter().map(child)).collect();
                vec![json!({ "all": all })]
            }
            Self::Any(seconds, one) => vec![json!({ "any": [wait(seconds), child(one)] })],
            Self::Within(seconds, one) => vec![json!({ "within": { "ms": seconds * 1_000, "of": child(one) } })],
            Self::Token => token(Value::Null),
            Self::TokenWithTimeout(seconds) => token(json!(seconds * 1_000)),
            Self::RoundTrip => vec![json!({ "round_trip": true })],
            Self::File => vec![json!({ "file": "x" })],
            Self::Work(ms) => vec![json!({ "sleep_ms": ms })],
        }
    }

    /// Its children, and how many of them are asked for with a clock and a random number.
    fn children(&self) -> (usize, usize) {
        match self {
            Self::Child(_) | Self::Any(..) | Self::Within(..) => (1, 0),
            Self::RoundTrip => (1, 1),
            Self::Batch(leaves) | Self::All(_, leaves) => (leaves.len(), 0),
            Self::Wait(_) | Self::Token | Self::TokenWithTimeout(_) | Self::File | Self::Work(_) => (0, 0),
        }
    }

    /// Takes its answers off the front of what a script returned; `lines` were written before.
    fn check(&self, answers: &mut impl Iterator<Item = Value>, lines: &mut usize) {
        let mut next = || answers.next().expect("an answer for each step");
        match self {
            Self::Wait(_) => assert_eq!(next(), "elapsed"),
            Self::Child(one) => is_from(&next(), one),
            Self::Batch(leaves) => all_are_from(next().as_array().expect("a list"), leaves),
            Self::All(_, leaves) => {
                let all = next();
                assert_eq!(all[0], "elapsed");
                all_are_from(&all.as_array().expect("a list")[1..], leaves);
            }
            Self::Any(_, one) => {
                let first = next();
                if first != json!([0, "elapsed"]) {
                    assert_eq!(first[0], 1);
                    is_from(&first[1], one);
                }
            }
            Self::Within(_, one) => {
                let answer = next();
                if !answer.is_null() {
                    is_from(&answer, one);
                }
            }
            Self::Token | Self::TokenWithTimeout(_) => {
                next();
                let answer = next();
                let is_over = matches!(self, Self::TokenWithTimeout(_)) && answer["error"].is_string();
                assert!(is_over || answer == json!({ "completed": WORD }), "{answer}");
            }
            Self::RoundTrip => assert_eq!(next(), json!({ "same": true }), "what an attempt has seen stays so"),
            Self::File => {
                *lines += 1;
                assert_eq!(next(), "x".repeat(*lines), "what an attempt has written is there, once");
            }
            Self::Work(_) => assert_eq!(next(), Value::Null),
        }
    }
}

/// A child answered, or was canceled.
#[track_caller]
fn is_from(answer: &Value, (echo, _): &Leaf) {
    let is_canceled = answer["error"].as_str().is_some_and(|text| text.to_lowercase().contains("cancel"));
    assert!(is_canceled || answer["output"] == json!(echo), "{answer}");
}

#[track_caller]
fn all_are_from(answers: &[Value], leaves: &[Leaf]) {
    assert_eq!(answers.len(), leaves.len());
    answers.iter().zip(leaves).for_each(|(answer, one)| is_from(answer, one));
}

impl Script {
    /// The payload of the task.
    pub fn payload(&self) -> Value {
        let mut steps: Vec<Value> = Vec::new();
        for (place, part) in self.parts.iter().enumerate() {
            steps.extend(self.fail_before(place));
            steps.extend(part.steps());
        }
        steps.extend(self.fail_before(self.parts.len()));
        steps.extend(self.fails.then(|| json!({ "fail": "as told" })));
        Value::Array(steps)
    }

    fn fail_before(&self, place: usize) -> Option<Value> {
        let (attempts, at) = self.failing?;
        (at % (self.parts.len() + 1) == place).then(|| json!({ "fail_before": attempts + 1 }))
    }

    fn attempts(&self) -> u32 {
        if self.fails { 3 } else { 1 + self.failing.map_or(0, |(attempts, _)| attempts) }
    }

    /// Each attempt has children of its own, those that fail midway only the first ones.
    fn children(&self) -> (usize, usize) {
        let sum = |parts: &[Part], times: u32| {
            let (mut all, mut random) = (0, 0);
            for (one, of_chance) in parts.iter().map(Part::children) {
                all += one * times as usize;
                random += of_chance * times as usize;
            }
            (all, random)
        };
        let Some((failing, at)) = self.failing else { return sum(&self.parts, self.attempts()) };
        let before = sum(&self.parts[..at % (self.parts.len() + 1)], failing);
        let whole = sum(&self.parts, self.attempts() - failing);
        (before.0 + whole.0, before.1 + whole.1)
    }

    /// Looks at a run of it that has ended and was not canceled.
    pub fn check(&self, run: &Value) {
        assert_eq!(
            run["attemptCount"],
            json!(self.attempts()),
            "an attempt counts once, however often it was brought back: {run}"
        );
        let children = run["relatedRuns"]["children"].as_array().map_or(0, Vec::len);
        let (all, random) = self.children();
        assert!(children >= all, "no child is missing: {run}");
        // Who asks for something else when the server dies before it waits gets another child.
        assert!(random > 0 || children == all, "each child was made once: {run}");
        if self.fails {
            assert_eq!((&run["status"], &run["error"]["message"]), (&json!("FAILED"), &json!("as told")), "{run}");
            return;
        }
        assert_eq!(run["status"], "COMPLETED", "{run}");
        let mut answers = run["output"].as_array().expect("a list").clone().into_iter();
        let mut lines = 0;
        for (place, part) in self.parts.iter().enumerate() {
            if self.fail_before(place).is_some() {
                assert_eq!(answers.next(), Some(Value::Null));
            }
            part.check(&mut answers, &mut lines);
        }
    }
}

fn any_leaf() -> impl Strategy<Value = Leaf> {
    (0_u32..100, prop_oneof![2 => Just(0), 1 => 1_u64..30])
}

fn any_part() -> impl Strategy<Value = Part> {
    let leaves = || vec(any_leaf(), 1..4);
    let seconds = || 1_u64..30;
    prop_oneof![
        3 => seconds().prop_map(Part::Wait),
        2 => any_leaf().prop_map(Part::Child),
        2 => leaves().prop_map(Part::Batch),
        2 => (seconds(), leaves()).prop_map(|(seconds, leaves)| Part::All(seconds, leaves)),
        2 => (seconds(), any_leaf()).prop_map(|(seconds, one)| Part::Any(seconds, one)),
        1 => (seconds(), any_leaf()).prop_map(|(seconds, one)| Part::Within(seconds, one)),
        3 => Just(Part::Token),
        1 => seconds().prop_map(Part::TokenWithTimeout),
        2 => Just(Part::RoundTrip),
        2 => Just(Part::File),
        1 => (1_u64..20).prop_map(Part::Work),
    ]
}

/// Any script.
pub fn any_script() -> impl Strategy<Value = Script> {
    let failing = proptest::option::weighted(0.3, (1_u32..3, any::<usize>()));
    (vec(any_part(), 0..6), failing, proptest::bool::weighted(0.1)).prop_map(|(parts, failing, fails)| Script {
        parts,
        failing,
        fails,
    })
}
