//! Environment variables of this process.

use std::ffi::OsStr;

/// An environment variable of this process that has another value until this is dropped.
#[derive(Debug)]
pub struct Variable {
    name: &'static str,
    before: Option<std::ffi::OsString>,
}

impl Variable {
    /// Sets the variable.
    ///
    /// To be called, and dropped, while no other thread uses the environment by way of the
    /// C library.
    pub fn set(name: &'static str, value: &OsStr) -> Self {
        let before = std::env::var_os(name);
        // SAFETY: no thread reads the environment meanwhile, but by Rust's library, which
        // has a lock for it: the caller says so.
        unsafe { std::env::set_var(name, value) };
        Self { name, before }
    }
}

impl Drop for Variable {
    fn drop(&mut self) {
        match &self.before {
            // SAFETY: as in `set`.
            Some(value) => unsafe { std::env::set_var(self.name, value) },
            // SAFETY: as in `set`.
            None => unsafe { std::env::remove_var(self.name) },
        }
    }
}
