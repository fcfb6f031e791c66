//! Dacapo: a self-hosted task runtime.
//!
//! A run is a row. Guests decide *what*, [`model`] decides *what next*, [`storage`] records it,
//! [`worker`] makes it happen, [`http`] shows it. Modules stand here in reading order; each may
//! import only modules of lower floors (`tests/it/floors.rs`). The README has the map and the
//! invariants.

pub mod model;

pub mod clock;
pub mod payload_schema;
pub mod secrets;

pub mod api;
pub mod artifacts;
pub mod config;
pub mod sandbox;
pub mod storage;

pub mod backtest;
pub mod bulk;
pub mod context;
pub mod deploy;
pub mod edits;
pub mod keys;
pub mod packets;
pub mod runs;
pub mod schedules;
pub mod selection;
pub mod waitpoints;

pub mod http;
pub mod worker;

pub mod app;

pub mod cli;
