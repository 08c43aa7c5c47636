//! croft: a declarative, Nix-based, reproducible build farm.
//!
//! Modules stand in the order in which a push flows through them; see ARCHITECTURE.md.
//!
//! ```text
//! push / cli ──> eval ──> graph ──> plan ──> schedule ──> fleet + remote ──> db ──> report ──> cli
//!                flake     drvs      what is    who builds    machines and     facts   one truth
//!                -> cells  + keys    needed     what, where   the realising            for all
//! ```

pub mod clock;
pub mod config;
pub mod ids;
pub mod nix;
pub mod task;

pub mod matrix;

pub mod graph;

pub mod lifecycle;

pub mod report;

pub mod plan;

pub mod schedule;

pub mod cache;
pub mod db;
pub mod eval;
pub mod fleet;
pub mod logs;
pub mod remote;

pub mod engine;

pub mod cli;
pub mod web;
