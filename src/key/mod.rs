//! What makes an image the right one: interpreter, host, variables, flags, recipe, evidence.

pub mod evidence;
pub mod flags;
pub mod host;
pub mod inspect;
pub mod interpreter;
pub mod looked;
pub mod pyenv;
pub mod python_env;
pub mod recipe;
pub mod which;
