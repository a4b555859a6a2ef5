//! placeholder
pub mod capture;
pub mod cli;
pub mod commands;
pub mod criu;
pub mod engine;
pub mod error;
pub mod image;
pub mod key;
pub mod launch;
pub mod manifest;
pub mod store;
pub mod sys;
pub mod ui;
