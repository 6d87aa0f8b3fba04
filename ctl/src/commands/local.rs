//! `completions` and `man`: made from the same definitions as the help.

use std::{fs, path::Path};

use clap::CommandFactory as _;

use crate::{
    cli::Cli,
    failure::{Failure, Outcome},
    output::print,
};

pub(super) fn completions(shell: clap_complete::Shell) -> Outcome<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "narrowsctl", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(super) fn man(dir: &Path) -> Outcome<()> {
    fs::create_dir_all(dir).map_err(|error| Failure::file("the folder cannot be made", dir, &error))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .map_err(|error| Failure::file("the man pages cannot be written", dir, &error))
}
