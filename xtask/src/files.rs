//! The text files of the repository, without what is built, downloaded or kept locally.

use std::fs;
use std::path::Path;

#[derive(Debug)]
pub(crate) struct RepositoryFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) content: String,
}

/// Folders at the root that are no source.
const SKIPPED_AT_ROOT: &[&str] = &["target", "data", ".git"];

pub(crate) fn read_all(root: &Path) -> Result<Vec<RepositoryFile>, String> {
    let mut files = Vec::new();
    read_folder(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<RepositoryFile>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().map_err(|error| format!("cannot look at {path}: {error}"))?;
        if kind.is_dir() {
            let skipped = prefix.is_empty() && SKIPPED_AT_ROOT.contains(&name.as_str());
            if !skipped {
                read_folder(&entry.path(), &path, files)?;
            }
            continue;
        }
        let bytes = fs::read(entry.path()).map_err(|error| format!("cannot read {path}: {error}"))?;
        // What is not UTF-8 is data, such as golden bytes.
        if let Ok(content) = String::from_utf8(bytes) {
            files.push(RepositoryFile { path, content });
        }
    }
    Ok(())
}
