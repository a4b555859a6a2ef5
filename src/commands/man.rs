//! `pyimg man`: writes the man pages; for `make install`.

use clap::CommandFactory as _;

use crate::cli::{self, Cli, Pyrun};
use crate::error::{Error, Result};

pub(super) fn run(args: &cli::Man) -> Result<()> {
    let directory = &args.directory;
    for command in [Cli::command(), Pyrun::command()] {
        clap_mangen::generate_to(command, directory).map_err(|error| {
            Error::failed(format!("cannot write the man pages to {}", directory.display()))
                .because(error)
                .hint("name a directory that exists and that you may write to")
        })?;
    }
    Ok(())
}
