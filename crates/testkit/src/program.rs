//! The program under test or measurement, without this room's own variables: it refuses each `HYDRANT_` variable
//! that it does not know.

use std::env;
use std::process::Command;

/// A program that is given no variable whose name begins with `HYDRANT_`.
#[must_use]
pub fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("HYDRANT_") {
            command.env_remove(name);
        }
    }
    command
}
