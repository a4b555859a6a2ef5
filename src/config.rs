//! What a person has set: limits of the store, from a file and from the environment.
//!
//! The file is `config.toml` in `$XDG_CONFIG_HOME/pyimg`, else in `~/.config/pyimg`, or
//! what `PYIMG_CONFIG` names. A variable is stronger than the file, an option of a command
//! stronger than both. It need not be there; what is wrong in it is an error, never passed
//! over. `pyrun` reads it only when it has found no image and is about to run plain Python, for
//! whether one is to be built: nothing in it changes how a program runs.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;
use toml::{Spanned, Value};

use crate::error::{Error, Result};

/// What a size may look like, for a person.
const SIZES: &str = "a size such as 500MB, 10GB or 2GiB, or \"unlimited\"";
/// What a duration may look like, for a person.
const DURATIONS: &str = "a duration such as 30d, 12h or 90min, or \"never\"";
/// What a switch may look like, for a person.
const SWITCHES: &str = "true or false";
/// What may be done about programs that find no image, for a person.
const POLICIES: &str = "\"off\", \"ask\" or \"auto\"";
/// How important a build is that nobody waits for, for a person.
const PRIORITIES: &str = "\"low\" or \"normal\"";

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `max-size`: bytes of disk space that the store may take; `None` is no limit.
    pub max_size: Option<u64>,
    /// `unused-for`: how long an image may be unused before it is removed.
    pub unused_for: Option<Duration>,
    /// `cold-after`: how long an image may be unused before it is compressed.
    pub cold_after: Option<Duration>,
    /// `auto-gc`: whether a build that takes the store over its limit makes room.
    pub auto_gc: bool,
    /// `build`: what is done about a program that finds no image and would be faster with one.
    pub build: Policy,
    /// `build-priority`: whether builds that nobody waits for take only the time that nobody
    /// else wants, or as much as any program. On a machine that is always busy, that can be
    /// none.
    pub build_priority: Priority,
}

/// What is done about a program that finds no image and would be faster with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    Off,
    /// Its user is told, once, what to build.
    Ask,
    /// The image is built while nobody waits for it.
    Auto,
}

/// How important a build is that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Less than anything else on the machine.
    Low,
    /// As important as whatever asked for it.
    Normal,
}

impl Default for Config {
    fn default() -> Self {
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
        Self {
            max_size: Some(10_000_000_000),
            unused_for: days(30),
            cold_after: days(7),
            auto_gc: true,
            build: Policy::Ask,
            build_priority: Priority::Low,
        }
    }
}

/// The file, before its values are looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    max_size: Option<Spanned<Value>>,
    unused_for: Option<Spanned<Value>>,
    cold_after: Option<Spanned<Value>>,
    auto_gc: Option<Spanned<Value>>,
    build: Option<Spanned<Value>>,
    build_priority: Option<Spanned<Value>>,
}

impl Config {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// When either holds something that is not allowed; the text says where and what is.
    pub fn read() -> Result<Self> {
        Self::from(|name| std::env::var_os(name))
    }

    fn from(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let mut config = Self::default();
        if let Some((path, must_exist)) = path(&variable) {
            match fs::read_to_string(&path) {
                Ok(text) => config.apply_file(&path, &text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {}
                Err(error) => {
                    let error =
                        Error::usage(format!("cannot read the configuration {}", path.display()))
                            .because(error);
                    return Err(match must_exist {
                        true => error.hint("PYIMG_CONFIG names it"),
                        false => error,
                    });
                }
            }
        }
        config.apply_environment(&variable)?;
        Ok(config)
    }

    fn apply_file(&mut self, path: &Path, text: &str) -> Result<()> {
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let wrong = |at: Option<usize>, what: &str| {
            let place = at.map_or_else(String::new, |at| format!(", line {}", line(at)));
            Error::usage(format!("the configuration {}{place}: {what}", path.display()))
        };
        let file: File = toml::from_str(text)
            .map_err(|error| wrong(error.span().map(|span| span.start), error.message()))?;
        let set = |key: &str,
                   value: Option<Spanned<Value>>,
                   allowed: &str,
                   set: &mut dyn FnMut(&Value) -> Option<()>| {
            let Some(value) = value else { return Ok(()) };
            set(value.as_ref()).ok_or_else(|| {
                let what = format!("{key} cannot be {}; it is {allowed}", shown(value.as_ref()));
                wrong(Some(value.span().start), &what)
            })
        };
        let text_of = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            // 0 means the same in every unit.
            Value::Integer(0) => Some("0".to_owned()),
            _ => None,
        };
        set("max-size", file.max_size, SIZES, &mut |value| {
            self.max_size = size(&text_of(value)?)?;
            Some(())
        })?;
        set("unused-for", file.unused_for, DURATIONS, &mut |value| {
            self.unused_for = duration(&text_of(value)?)?;
            Some(())
        })?;
        set("cold-after", file.cold_after, DURATIONS, &mut |value| {
            self.cold_after = duration(&text_of(value)?)?;
            Some(())
        })?;
        set("auto-gc", file.auto_gc, SWITCHES, &mut |value| {
            self.auto_gc = value.as_bool()?;
            Some(())
        })?;
        set("build", file.build, POLICIES, &mut |value| {
            self.build = policy(value.as_str()?)?;
            Some(())
        })?;
        set("build-priority", file.build_priority, PRIORITIES, &mut |value| {
            self.build_priority = priority(value.as_str()?)?;
            Some(())
        })
    }

    fn apply_environment(&mut self, variable: impl Fn(&str) -> Option<OsString>) -> Result<()> {
        let set = |name: &str, allowed: &str, set: &mut dyn FnMut(&str) -> Option<()>| {
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
                return Ok(());
            };
            value.to_str().and_then(set).ok_or_else(|| {
                Error::usage(format!(
                    "{name} cannot be {:?}; it is {allowed}",
                    value.to_string_lossy()
                ))
            })
        };
        set("PYIMG_MAX_SIZE", SIZES, &mut |text| {
            self.max_size = size(text)?;
            Some(())
        })?;
        set("PYIMG_UNUSED_FOR", DURATIONS, &mut |text| {
            self.unused_for = duration(text)?;
            Some(())
        })?;
        set("PYIMG_COLD_AFTER", DURATIONS, &mut |text| {
            self.cold_after = duration(text)?;
            Some(())
        })?;
        set("PYIMG_AUTO_GC", "true or false (or 1 or 0)", &mut |text| {
            self.auto_gc = match text {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return None,
            };
            Some(())
        })?;
        set("PYIMG_BUILD", POLICIES, &mut |text| {
            self.build = policy(text)?;
            Some(())
        })?;
        set("PYIMG_BUILD_PRIORITY", PRIORITIES, &mut |text| {
            self.build_priority = priority(text)?;
            Some(())
        })
    }
}

fn policy(text: &str) -> Option<Policy> {
    match text.trim() {
        "off" => Some(Policy::Off),
        "ask" => Some(Policy::Ask),
        "auto" => Some(Policy::Auto),
        _ => None,
    }
}

fn priority(text: &str) -> Option<Priority> {
    match text.trim() {
        "low" => Some(Priority::Low),
        "normal" => Some(Priority::Normal),
        _ => None,
    }
}

/// Where the file is, and whether it has to be there.
fn path(variable: impl Fn(&str) -> Option<OsString>) -> Option<(PathBuf, bool)> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("PYIMG_CONFIG") {
        return Some((path, true));
    }
    // The XDG specification: a relative path there is to be ignored.
    let xdg = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let base = xdg.or_else(|| Some(set("HOME").filter(|home| home.is_absolute())?.join(".config")));
    Some((base?.join("pyimg/config.toml"), false))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(switch) => switch.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(_) => "an array".into(),
        Value::Table(_) => "a table".into(),
    }
}

/// A size in bytes, `Some(None)` for no limit; `None` if it is neither.
fn size(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "unlimited" => Some(None),
        text => text.parse::<ByteSize>().ok().map(|size| Some(size.as_u64())),
    }
}

/// A duration, `Some(None)` for never; `None` if it is neither. A day has 24 hours.
fn duration(text: &str) -> Option<Option<Duration>> {
    match text.trim() {
        "never" => Some(None),
        "0" => Some(Some(Duration::ZERO)),
        text => {
            let span: Span = text.parse().ok()?;
            let exact = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
            Duration::try_from(exact).ok().map(Some)
        }
    }
}

/// A limit on a command line; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<T>(pub Option<T>);

/// A size on a command line, in bytes.
///
/// # Errors
/// What it may look like.
pub fn parse_size(text: &str) -> Result<Limit<u64>, String> {
    size(text).map(Limit).ok_or_else(|| format!("it is {SIZES}"))
}

/// A duration on a command line.
///
/// # Errors
/// What it may look like.
pub fn parse_duration(text: &str) -> Result<Limit<Duration>, String> {
    duration(text).map(Limit).ok_or_else(|| format!("it is {DURATIONS}"))
}

#[cfg(test)]
mod tests;
