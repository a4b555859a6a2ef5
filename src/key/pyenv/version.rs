//! Which of pyenv's versions is meant: the files that say so, and the names in them.

use std::fs;
use std::path::Path;

use super::looked;

/// The versions asked for by files, searched upwards from each directory in turn.
pub(super) fn asked_for(root: &Path, directories: &[&Path]) -> Result<Vec<u8>, String> {
    let ancestors = directories.iter().flat_map(|directory| directory.ancestors());
    let file = ancestors
        .map(|directory| directory.join(".python-version"))
        .find(|file| {
            looked::at(file);
            file.is_file()
        })
        .unwrap_or_else(|| root.join("version"));
    looked::at(&file);
    let Ok(text) = fs::read(&file) else { return Ok(b"system".to_vec()) };
    let mut versions = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        if line.len() > 1000 {
            return Err(format!("{} has a very long line", file.display()));
        }
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
        match line.split(is_space).find(|word| !word.is_empty()) {
            Some(word) if !word.starts_with(b"#") => versions.push(word),
            _ => {}
        }
    }
    Ok(if versions.is_empty() { b"system".to_vec() } else { versions.join(&b':') })
}

/// Turns `3.12:system` into names of installed versions, such as `3.12.1`.
pub(super) fn resolve(root: &Path, versions: &[u8]) -> Result<Vec<String>, String> {
    let versions = String::from_utf8_lossy(versions);
    let resolve = |version: &str| {
        let strange = |c: char| !(c.is_ascii_alphanumeric() || "._-+/".contains(c));
        let parts = |part: &str| matches!(part, "" | "." | "..");
        if version.contains(strange) || version.split('/').any(parts) {
            return Err(format!("the version name `{version}` is strange"));
        }
        let bare = version.strip_prefix("python-").unwrap_or(version);
        let installed = |name: &str| super::is_directory(&root.join("versions").join(name));
        if version == "system" || installed(version) {
            Ok(version.to_owned())
        } else if installed(bare) {
            Ok(bare.to_owned())
        } else {
            let latest = match latest(root, version)? {
                None => latest(root, bare)?,
                found => found,
            };
            latest.ok_or_else(|| format!("version {version} is not installed"))
        }
    };
    versions.split(':').map(resolve).collect()
}

/// The latest installed version that begins with `prefix`, as `pyenv latest` has it.
fn latest(root: &Path, prefix: &str) -> Result<Option<String>, String> {
    if prefix.contains('/') {
        return Ok(None);
    }
    // 3.13t means the free-threaded builds of 3.13.
    let (prefix, threaded) = match prefix.strip_suffix('t') {
        Some(rest) if rest.ends_with(|c: char| c.is_ascii_digit()) => (rest, true),
        _ => (prefix, false),
    };
    let mut best: Option<(Vec<u64>, String)> = None;
    let versions = root.join("versions");
    looked::at(&versions);
    for entry in fs::read_dir(&versions).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let rest = name.strip_prefix(prefix).filter(|rest| rest.starts_with(['.', '-']));
        let numbers = rest.and_then(|rest| match rest.strip_suffix('t') {
            Some(numbers) if threaded => Some(numbers),
            Some(numbers) if numbers.ends_with(|c: char| c.is_ascii_digit()) => None,
            _ => (!threaded && !is_preliminary(rest)).then_some(rest),
        });
        let Some(numbers) = numbers.filter(|_| super::is_directory(&entry.path())) else {
            continue;
        };
        // Among plain release numbers the order is clear; pyenv's order of other
        // names depends on the locale.
        let number = |part: &str| part.parse().ok();
        let release = format!("{prefix}{numbers}");
        match release.split('.').map(number).collect::<Option<Vec<u64>>>() {
            Some(numbers) => best = best.max(Some((numbers, name))),
            None => return Err(format!("version {prefix} may mean {name}")),
        }
    }
    Ok(best.map(|(_, name)| name))
}

/// Whether a version's name is that of a development or preliminary version, which is
/// never taken for the latest.
fn is_preliminary(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    ["-dev", "-src", "-latest"].iter().any(|end| name.ends_with(end))
        || stem.len() < name.len() && ["a", "b", "rc"].iter().any(|end| stem.ends_with(end))
}
