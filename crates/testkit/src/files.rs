//! Files that a program has written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// All files below a folder whose names end in `suffix`, sorted.
///
/// # Errors
/// If a folder cannot be read.
pub fn files_below(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
