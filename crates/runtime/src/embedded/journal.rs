//! The journal: frames one after another in numbered segments, and the one place that touches the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::embedded::frame::{self, Decoded, Frame};
use crate::embedded::{OpenError, SyncPolicy};

/// Name and number of the format. After it stands the length of all segments before, so that none can go missing or lose
/// its end unnoticed.
const MAGIC: &[u8; 8] = b"TIDEMJ\0\x01";
const SEGMENT_HEADER_BYTES: usize = 16;

/// Where the body of a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) position: u32,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    file: File,
}

impl Segment {
    pub(crate) fn read_exact_at(&self, bytes: &mut [u8], position: u32) -> io::Result<()> {
        self.file.read_exact_at(bytes, u64::from(position))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalOptions {
    pub(crate) segment_bytes_max: u64,
    pub(crate) journal_bytes_max: u64,
    pub(crate) sync: SyncPolicy,
    pub(crate) access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    /// Somebody else writes: an unfinished frame at the end may still become whole.
    Read,
}

/// Why a frame is not in the journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Nothing of it was kept; it can be appended again.
    #[error("the journal cannot be written: {0}")]
    Refused(String),
    /// Whether it is there shows only after the journal has been opened again.
    #[error("the journal's state on disk is unknown after a failed write, open the broker again: {0}")]
    Unknown(String),
}

#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    options: JournalOptions,
    /// Segment number n is at index n - 1.
    segments: Vec<Arc<Segment>>,
    /// End of the last whole frame in the last segment.
    end: u64,
    /// Length of all segments before the last.
    sealed_bytes: u64,
    is_broken: bool,
    /// For a reader: where the last scan met something that might have been a frame on its way.
    suspected_at: Option<(usize, u64)>,
}

impl Journal {
    /// Opens the journal and hands every frame in it to `apply`.
    pub(crate) fn open(
        directory: &Path,
        options: JournalOptions,
        apply: &mut dyn FnMut(Frame, Place) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        let directory = directory.to_owned();
        let mut journal = Self {
            directory,
            options,
            segments: Vec::new(),
            end: 0,
            sealed_bytes: 0,
            is_broken: false,
            suspected_at: None,
        };
        journal.refresh(apply)?;
        journal.check_complete()?;
        if options.access == Access::Write {
            journal.cut_tail()?;
        }
        Ok(journal)
    }

    /// Hands over the frames that were added since the last time.
    pub(crate) fn refresh(
        &mut self,
        apply: &mut dyn FnMut(Frame, Place) -> Result<(), String>,
    ) -> Result<(), OpenError> {
        loop {
            // A segment is complete once its successor exists, so this must be asked before the segment is read.
            let next = self.path_of(self.segments.len() + 1);
            let has_next = next.try_exists().map_err(|error| unavailable(&next, &error))?;
            if !self.segments.is_empty() {
                self.scan_last(has_next, apply)?;
            }
            if !has_next {
                return Ok(());
            }
            let file = OpenOptions::new()
                .read(true)
                .write(self.options.access == Access::Write)
                .open(&next)
                .map_err(|error| unavailable(&next, &error))?;
            self.sealed_bytes += self.end;
            self.end = 0;
            self.segments.push(Arc::new(Segment { path: next, file }));
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.sealed_bytes + self.end
    }

    pub(crate) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments.get((number as usize).checked_sub(1)?).cloned()
    }

    /// Appends a frame, whole or not at all.
    pub(crate) fn append(&mut self, frame: &Frame, bodies: &[&[u8]]) -> Result<Place, AppendError> {
        if self.is_broken {
            return Err(AppendError::Unknown("an earlier write failed".to_owned()));
        }
        let too_large = || AppendError::Refused("the transaction is larger than a frame can be".to_owned());
        let (bytes, body_start) = frame::encode(frame, bodies.iter().copied()).ok_or_else(too_large)?;
        let length = bytes.len() as u64;
        if self.bytes().saturating_add(length) > self.options.journal_bytes_max {
            let limit = self.options.journal_bytes_max;
            return Err(AppendError::Refused(format!("it would exceed journal_bytes_max = {limit}")));
        }
        if self.segments.is_empty() || self.end.saturating_add(length) > self.options.segment_bytes_max {
            self.rotate().map_err(|error| AppendError::Refused(error.to_string()))?;
        }
        let position = u32::try_from(self.end + body_start as u64).map_err(|_| too_large())?;
        self.write(&bytes)?;
        self.end += length;
        Ok(Place { segment: self.segments.len() as u32, position })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let Some(segment) = self.segments.last() else {
            return Err(AppendError::Refused("there is no segment".to_owned()));
        };
        if let Err(error) = segment.file.write_all_at(bytes, self.end) {
            return match segment.file.set_len(self.end) {
                Ok(()) => Err(AppendError::Refused(error.to_string())),
                Err(_) => {
                    self.is_broken = true;
                    Err(AppendError::Unknown(error.to_string()))
                }
            };
        }
        if self.options.sync == SyncPolicy::EveryCommit {
            // After a failed sync the pages may be gone or not; only a new start can tell.
            segment.file.sync_data().map_err(|error| {
                self.is_broken = true;
                AppendError::Unknown(error.to_string())
            })?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = self.path_of(self.segments.len() + 1);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        if let Err(error) = file.write_all_at(&segment_header(self.bytes()), 0) {
            std::fs::remove_file(&path)?;
            return Err(error);
        }
        if self.options.sync == SyncPolicy::EveryCommit {
            file.sync_all()?;
            File::open(&self.directory)?.sync_all()?;
        }
        self.sealed_bytes += self.end;
        self.end = SEGMENT_HEADER_BYTES as u64;
        self.segments.push(Arc::new(Segment { path, file }));
        Ok(())
    }

    /// Reads the last segment from where the last scan ended.
    fn scan_last(
        &mut self,
        is_sealed: bool,
        apply: &mut dyn FnMut(Frame, Place) -> Result<(), String>,
    ) -> Result<(), OpenError> {
        let Some(segment) = self.segments.last().map(Arc::clone) else { return Ok(()) };
        let bytes = read_from(&segment.file, self.end).map_err(|error| unavailable(&segment.path, &error))?;
        let mut at = 0;
        if self.end == 0 {
            match bytes.first_chunk() {
                Some(header) => self.check_header(&segment.path, header)?,
                None if !is_sealed => return Ok(()),
                None => return Err(damaged(&segment.path, 0, "its header is cut off")),
            }
            at = SEGMENT_HEADER_BYTES;
        }
        let start = self.end;
        let is_tolerant = self.options.access == Access::Read && !is_sealed;
        while at < bytes.len() {
            let position = start + at as u64;
            match frame::decode(&bytes[at..]) {
                Decoded::Whole { frame, length, body_start } => {
                    let body = u32::try_from(position + body_start as u64)
                        .map_err(|_| damaged(&segment.path, position, "the segment is too long"))?;
                    apply(frame, Place { segment: self.segments.len() as u32, position: body })
                        .map_err(|message| damaged(&segment.path, position, &message))?;
                    at += length;
                }
                Decoded::Cut if !is_sealed => break,
                Decoded::Cut => return Err(damaged(&segment.path, position, "a frame is cut off before the end")),
                // What is still so at the next look was not on its way, and must not pass for the end of the journal.
                Decoded::Damaged(_) if is_tolerant && self.suspected_at != Some((self.segments.len(), position)) => {
                    self.suspected_at = Some((self.segments.len(), position));
                    break;
                }
                Decoded::Damaged(message) => return Err(damaged(&segment.path, position, message)),
            }
        }
        self.end = start + at as u64;
        Ok(())
    }

    fn check_header(&self, path: &Path, header: &[u8; SEGMENT_HEADER_BYTES]) -> Result<(), OpenError> {
        if header[..MAGIC.len()] != MAGIC[..] {
            return Err(damaged(path, 0, "it does not begin as a segment of this format does"));
        }
        if *header == segment_header(self.sealed_bytes) {
            return Ok(());
        }
        let before = self.path_of(self.segments.len().saturating_sub(1));
        let end = self.sealed_bytes;
        Err(damaged(&before, end, "it and the segments before it are not as long as the next segment says"))
    }

    /// Segments are read one after another until the next is missing; there must be none behind that.
    fn check_complete(&self) -> Result<(), OpenError> {
        let entries = std::fs::read_dir(&self.directory).map_err(|error| unavailable(&self.directory, &error))?;
        let count = entries.filter_map(Result::ok).filter(|entry| entry.path().extension().is_some()).count();
        if count > self.segments.len() {
            return Err(damaged(&self.path_of(self.segments.len() + 1), 0, "it is missing"));
        }
        Ok(())
    }

    /// Removes what a process that was killed had begun to write.
    fn cut_tail(&mut self) -> Result<(), OpenError> {
        let Some(segment) = self.segments.last() else { return Ok(()) };
        let failed = |error: io::Error| unavailable(&segment.path, &error);
        let length = segment.file.metadata().map_err(failed)?.len();
        if self.end == 0 {
            segment.file.set_len(0).map_err(failed)?;
            segment.file.write_all_at(&segment_header(self.sealed_bytes), 0).map_err(failed)?;
            self.end = SEGMENT_HEADER_BYTES as u64;
            return Ok(());
        }
        if length > self.end {
            tracing::warn!(
                code = "journal_tail_cut",
                segment = %segment.path.display(),
                position = self.end,
                bytes = length - self.end,
                "the last frame was never finished and is cut off; it was not committed"
            );
            segment.file.set_len(self.end).map_err(failed)?;
        }
        Ok(())
    }

    fn path_of(&self, number: usize) -> PathBuf {
        self.directory.join(format!("{number:08}.log"))
    }
}

fn segment_header(bytes_before: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(&bytes_before.to_le_bytes());
    header
}

fn read_from(mut file: &File, position: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(position))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unavailable(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Unavailable { path: path.display().to_string(), message: error.to_string() }
}

fn damaged(path: &Path, position: u64, message: &str) -> OpenError {
    OpenError::Damaged { path: path.display().to_string(), position, message: message.to_owned() }
}
