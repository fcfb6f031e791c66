//! What Dacapo decides, as pure functions over plain values.
//!
//! Nothing here reads a clock, touches a file, waits, or knows JSON, SQL or WebAssembly: time and
//! chance are arguments. Start with [`run`] (what can happen to a run) and [`attempt`] (what follows when it is tried).

/// Gives an enum the words by which its values are written and read.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal,)* }) => {
        impl $name {
            /// The word that is stored.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// The value of a stored word.
            pub fn parse(word: &str) -> Option<Self> {
                [$(Self::$variant,)*].into_iter().find(|value| value.as_str() == word)
            }
        }
    };
}

pub mod admission;
pub mod attempt;
pub mod backtest;
pub mod batch;
pub mod branch;
pub mod bulk;
pub mod digest;
pub mod duration;
pub mod egress;
pub mod hook;
pub mod id;
pub mod limits;
pub mod mask;
pub mod replay;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod scope;
pub mod statistics;
pub mod stream;
pub mod tag;
pub mod task;
pub mod verdict;
pub mod version;
pub mod wait;
pub mod waitpoint;

pub use jiff::Timestamp;
