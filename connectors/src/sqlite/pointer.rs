//! The link by which readers find the file of the pipeline that is live.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use tidemill_core::SinkError;

use super::config::Config;

/// What has to be done so that readers find the first file.
pub(super) fn missing(config: &Config) -> Option<String> {
    let pointer = config.pointer();
    let is_missing = config.colour.is_none() && pointer.symlink_metadata().is_err();
    is_missing.then(|| format!("link {}", pointer.display()))
}

/// Has the link lead to the sink's own file. A rename replaces it at once.
pub(super) fn turn(config: &Config) -> Result<(), SinkError> {
    let (file, pointer) = (config.file(), config.pointer());
    let Some(name) = file.file_name() else {
        return Err(SinkError::Misconfigured(format!("{} names no file", file.display())));
    };
    let beside = pointer.with_extension("new");
    let turned = removed(&beside).and_then(|()| std::os::unix::fs::symlink(name, &beside));
    turned.and_then(|()| fs::rename(&beside, &pointer)).map_err(|error| unavailable(&pointer, &error))
}

/// Removes the file of a colour with what SQLite keeps beside it.
pub(super) fn remove(config: &Config) -> Result<(), SinkError> {
    let file = config.file();
    if config.colour.is_none() {
        return Err(SinkError::Misconfigured("only the file of a colour can be removed".to_owned()));
    }
    if fs::read_link(config.pointer()).is_ok_and(|shown| Some(shown.as_os_str()) == file.file_name()) {
        return Err(SinkError::Misconfigured(format!("{} is the live one", file.display())));
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut path = file.clone().into_os_string();
        path.push(suffix);
        removed(Path::new(&path)).map_err(|error| unavailable(&file, &error))?;
    }
    Ok(())
}

fn removed(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn unavailable(path: &Path, error: &std::io::Error) -> SinkError {
    SinkError::Unavailable(format!("{}: {error}", path.display()))
}
