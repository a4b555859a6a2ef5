//! The few system calls that neither the standard library nor `nix` offers safely.
//!
//! Each function is as small as the call that it wraps, and safe to call from
//! anywhere it says. Nothing here knows what the project does.
//!
//! - `descriptors`: of this process, and those that come with a message
//! - `processes`: to start them and to end; `waiting`: what has become of children
//! - `signals`: sent, ignored, and those that a timer is going to send
//! - `capabilities`, `environment`, `resources`: what this process may and has
//! - `threads`: one on another processor
//! - `files`: when what was written goes to the disk
//! - `host`: the C library and the processor
#![allow(unsafe_code)]

mod capabilities;
mod descriptors;
mod environment;
mod files;
mod host;
mod processes;
mod resources;
mod signals;
mod threads;
mod waiting;

pub use capabilities::{is_ambient, make_ambient, securebits, set_capabilities};
pub use descriptors::{
    Silence, close_all_but, duplicate_inherited, keep_descriptors_from_children, let_go_of,
    receive, survives_exec,
};
pub use environment::Variable;
pub use files::begin_to_write_out;
pub use host::{extended_state, glibc_version, processor_features, size_of_extended_state};
pub use processes::{burn_pid, exit_now, forget_caller, fork_into, in_company, in_own_session};
pub use resources::{
    expect_a_short_life, is_scheduled_ordinarily, nice, resource_limits, yield_to_others,
};
pub use signals::{has_timer, is_ignored, send_signal, set_disposition};
pub use threads::{beside, has_other_processors};
pub use waiting::{change_of_child, end_of_child, has_children, wait_any};
