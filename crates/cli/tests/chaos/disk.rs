//! A small disk for the stores, which can be filled. Only root may mount one; elsewhere nothing is filled.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const BYTES: &str = "size=256m";
const CHUNK_BYTES: usize = 1 << 20;

pub(crate) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    pub(crate) fn mount(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).expect("the folder can be made");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", BYTES, "tidemill-chaos"]).arg(folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            Some(Self { folder: folder.to_owned() })
        } else {
            println!("nothing can be mounted here, so the disk is never full");
            None
        }
    }

    /// Writes until nothing more fits.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a new file");
        let chunk = vec![7; CHUNK_BYTES];
        while file.write_all(&chunk).is_ok() {}
    }

    pub(crate) fn relieve(&self) {
        // It may not be full.
        let _not_there = fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.folder.display());
        }
    }
}
