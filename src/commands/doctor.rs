//! `pyimg doctor`: what is there and what is missing, with the command that mends it.
//!
//! Nothing is changed and nothing is made, but the directory on a tmpfs that every run by CRIU
//! needs. Each finding stands for itself; what depends on something that is missing is
//! left out.

mod direct;
mod machine;
mod privilege;
mod pythons;
mod store;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::cli;
use crate::error::{Error, Result};
use crate::ui::Printer;
use pythons::Python;

/// What only builds need, and runs from images that `pyrun` cannot bring back itself.
const OF_CRIU: [&str; 4] = ["criu", "privilege", "kernel", "runtime-directory"];

/// `pyimg doctor --json`
#[derive(Debug, Serialize)]
struct Report {
    /// Whether images can be built and used here.
    ok: bool,
    /// What was looked at.
    findings: Vec<Finding>,
    /// The interpreters that were found.
    pythons: Vec<Python>,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What it is: `criu`, `privilege`, `kernel`, `runtime-directory`, `direct`, `store`, `python`.
    name: &'static str,
    /// How it is.
    status: Status,
    /// That in words.
    detail: String,
    /// What mends it; null where nothing is to be mended.
    fix: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or perhaps not always.
    Warning,
    /// Images cannot be built because of it, or not used.
    Failed,
}

impl Finding {
    fn new(name: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self { name, status, detail: detail.into(), fix: None }
    }

    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, detail)
    }

    fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Failed, detail)
    }

    /// What an error says, with its hint as what mends it.
    fn error(name: &'static str, error: &Error) -> Self {
        Self { fix: error.hint_text().map(str::to_owned), ..Self::failed(name, error.to_string()) }
    }

    fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

pub(super) fn run(args: &cli::Doctor, printer: &Printer) -> Result<()> {
    let report = Report::new();
    if args.json {
        printer.json(&report)?;
    } else {
        printer.data(&report.text())?;
    }
    let failed: Vec<_> = report.findings.iter().filter(|f| f.status == Status::Failed).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = failed.iter().map(|finding| finding.name).collect();
    let what = match names.iter().all(|name| OF_CRIU.contains(name)) {
        true => "images cannot be built here, nor those used that take CRIU",
        false => "images cannot be built or used here",
    };
    Err(Error::environment(format!("{what}: {}", names.join(", "))))
}

impl Report {
    fn new() -> Self {
        let mut findings = machine::look();
        findings.push(direct::look());
        findings.push(store::look());
        let (finding, pythons) = pythons::look();
        findings.push(finding);
        let ok = findings.iter().all(|finding| finding.status != Status::Failed);
        Self { ok, findings, pythons }
    }

    fn text(&self) -> String {
        let width = self.findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
        let mut lines = Vec::new();
        for Finding { name, status, detail, fix } in &self.findings {
            let (word, style) = status.shown();
            let style = Style::new().fg_color(Some(style.into())).bold();
            lines.push(format!("{style}{word:7}{style:#}  {name:width$}  {detail}"));
            lines.extend(
                fix.as_ref().map(|fix| format!("{:9}{:width$}  to mend it: {fix}", "", "")),
            );
        }
        let width = self.pythons.iter().map(|python| python.path.len()).max().unwrap_or(0);
        for python in &self.pythons {
            let path = &python.path;
            lines.push(match (&python.version, &python.reason) {
                (Some(version), _) => format!("  {path:width$}  {version}"),
                (None, reason) => {
                    format!("  {path:width$}  no: {}", reason.as_deref().unwrap_or("unknown"))
                }
            });
        }
        lines.join("\n")
    }
}

impl Status {
    fn shown(self) -> (&'static str, AnsiColor) {
        match self {
            Self::Ok => ("ok", AnsiColor::Green),
            Self::Warning => ("warning", AnsiColor::Yellow),
            Self::Failed => ("failed", AnsiColor::Red),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_stands_over_what_mends_it() {
        let python = |path: &str, version: Option<&str>, reason: Option<&str>| Python {
            path: path.into(),
            version: version.map(Into::into),
            usable: version.is_some(),
            reason: reason.map(Into::into),
        };
        let report = Report {
            ok: false,
            findings: vec![
                Finding::failed("criu", "there is none").fix("make demo"),
                Finding::ok("kernel", "Linux 6.18"),
            ],
            pythons: vec![
                python("/usr/bin/python3", Some("3.11.2"), None),
                python("/opt/bin/python3", None, Some("it is PyPy")),
            ],
        };
        let plain = anstream::adapter::strip_str(&report.text()).to_string();
        insta::assert_snapshot!(plain, @r"
        failed   criu    there is none
                         to mend it: make demo
        ok       kernel  Linux 6.18
          /usr/bin/python3  3.11.2
          /opt/bin/python3  no: it is PyPy
        ");
        let json = serde_json::to_string(&report.findings[0]).unwrap();
        let expected =
            r#"{"name":"criu","status":"failed","detail":"there is none","fix":"make demo"}"#;
        assert_eq!(json, expected);
    }
}
