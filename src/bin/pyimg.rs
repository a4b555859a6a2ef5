//! `pyimg`: parse, run, exit status.

use std::process::ExitCode;

use clap::Parser as _;
use pyimg::cli::Cli;
use pyimg::commands;
use pyimg::ui::{Printer, reader_is_gone};

fn main() -> ExitCode {
    // Wrong usage ends here, with status 2.
    let cli = Cli::parse();
    let printer = Printer::new(cli.global.quiet, cli.global.color.into());
    match commands::run(&cli.command, &printer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if reader_is_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            printer.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
