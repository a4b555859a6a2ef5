//! `pyimg completions`: completions for a shell, as text.

use clap::CommandFactory as _;
use clap_complete::aot::{self, Generator};

use crate::cli::{self, Cli, Shell};
use crate::error::Result;
use crate::ui::Printer;

pub(super) fn run(args: &cli::Completions, printer: &Printer) -> Result<()> {
    printer.raw_data(&match args.shell {
        Shell::Bash => generate(aot::Bash),
        Shell::Zsh => generate(aot::Zsh),
        Shell::Fish => generate(aot::Fish),
    })
}

fn generate(shell: impl Generator) -> Vec<u8> {
    let mut text = Vec::new();
    aot::generate(shell, &mut Cli::command(), "pyimg", &mut text);
    text
}
