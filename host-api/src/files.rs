//! `wasi:filesystem`: wasmtime-wasi's files, in a directory that is made when it is first used,
//! with a quota.
//!
//! What a guest sees of them depends on what it did, but for times and hashes, which go through the
//! journal. (A disk that fails or is full, unlike a quota that is used up, is no answer that an attempt
//! which is brought back would get again.)
//!
//! That a guest cannot leave its directory (by `..`, absolute paths or links) is wasmtime-wasi's
//! work and is not touched here: every operation goes through its implementation. That it tried is put on record
//! ([`crate::outside`]).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, Datetime, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize,
    HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, ReaddirIterator};

use crate::TaskCtx;
use crate::file_streams::{Reader, Writer};
use crate::journal::{Kind, Question};
use crate::logger::Logger;
use crate::quota::{FileId, Quota};
use crate::scratch::{Scratch, ScratchRoot};

/// Where the guest finds its directory.
pub(crate) const GUEST_PATH: &str = "/scratch";

/// The files of one attempt.
pub(crate) struct Files {
    root: Option<Arc<ScratchRoot>>,
    scratch: Option<Scratch>,
    quota: Quota,
    /// What is still to come of the directories that are being listed, by the guest's handle on each.
    listings: HashMap<u32, VecDeque<DirectoryEntry>>,
}

/// Most directories that may be listed at a time: each listing is held in memory as a whole.
const MAX_LISTINGS: usize = 32;

impl Files {
    pub(crate) fn new(root: Option<Arc<ScratchRoot>>, quota_bytes: u64, logger: Logger) -> Self {
        Self { root, scratch: None, quota: Quota::new(quota_bytes, logger), listings: HashMap::new() }
    }
}

type Fd = Resource<Descriptor>;

/// What is behind a path, as far as the quota is concerned.
struct Found {
    file: FileId,
    stat: DescriptorStat,
}

impl TaskCtx {
    /// The operations of wasmtime-wasi on `fd`, whose directory is made now if it was not yet.
    async fn on(&mut self, fd: &Fd) -> FsResult<WasiFilesystemCtxView<'_>> {
        if let (Descriptor::Dir(dir), Some(root)) = (self.table.get(fd)?, &self.files.root)
            && root.is_placeholder(dir)
        {
            let scratch = match self.files.scratch.take() {
                Some(scratch) => scratch,
                None => root.create().await.map_err(FsError::trap)?,
            };
            *self.table.get_mut(fd)? = Descriptor::Dir(scratch.dir.clone());
            self.files.scratch = Some(scratch);
        }
        Ok(self.filesystem())
    }

    /// Whether it is the directory that the guest was given, which is its working directory, too.
    pub(crate) fn is_working_directory(&self, fd: &Fd) -> FsResult<bool> {
        let Descriptor::Dir(dir) = self.table.get(fd)? else { return Ok(false) };
        let is_placeholder = self.files.root.as_ref().is_some_and(|root| root.is_placeholder(dir));
        Ok(is_placeholder || self.files.scratch.as_ref().is_some_and(|scratch| scratch.is(dir)))
    }

    async fn find(&mut self, fd: &Fd, flags: PathFlags, path: &str) -> Option<Found> {
        let stat = self.on(fd).await.ok()?.stat_at(same(fd), flags, path.into()).await.ok()?;
        let hash = self.filesystem().metadata_hash_at(same(fd), flags, path.into()).await.ok()?;
        Some(Found { file: hash.into(), stat })
    }

    fn length(&self, fd: &Fd) -> FsResult<u64> {
        match self.table.get(fd)? {
            Descriptor::File(file) => Ok(file.file.metadata()?.len()),
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// Charges for a new name, does `make`, and takes the charge back if that fails.
    fn settle_entry<T>(&self, made: FsResult<T>) -> FsResult<T> {
        if made.is_err() {
            self.files.quota.undo_entry();
        }
        made
    }

    /// A name of `found` is gone.
    fn unlinked(&self, found: Found) {
        let last = found.stat.link_count <= 1;
        let length = if found.stat.type_ == DescriptorType::RegularFile && last { found.stat.size } else { 0 };
        self.files.quota.unlinked(found.file, length);
    }

    /// The file behind a handle.
    fn file(&self, fd: &Fd) -> FsResult<Arc<std::fs::File>> {
        match self.table.get(fd)? {
            Descriptor::File(file) => Ok(Arc::clone(&file.file)),
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// Our stream instead of wasmtime-wasi's, which has found that the guest may write there.
    fn metered(
        &mut self,
        stream: Resource<DynOutputStream>,
        fd: &Fd,
        at: Option<u64>,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.table.delete(stream)?;
        let metered: DynOutputStream = Box::new(Writer::new(self.file(fd)?, at, self.files.quota.clone()));
        Ok(self.table.push(metered)?)
    }

    /// The same with the times that the guest has seen, where it has.
    fn timed(&self, mut stat: DescriptorStat) -> FsResult<DescriptorStat> {
        let DescriptorStat { data_access_timestamp, data_modification_timestamp, status_change_timestamp, .. } = stat;
        let times = [data_access_timestamp, data_modification_timestamp, status_change_timestamp];
        let live = || {
            Ok(times.map(|time| match (&self.pins, time) {
                (Some(pins), Some(_)) => Some((pins.shown() / 1_000_000_000, 0)),
                (_, time) => time.map(|time| (time.seconds, time.nanoseconds)),
            }))
        };
        let times = self.journal.ask_now(|| Question::new(Kind::FileTimes), live).map_err(FsError::trap)?;
        let times = times.map(|time| time.map(|(seconds, nanoseconds)| Datetime { seconds, nanoseconds }));
        [stat.data_access_timestamp, stat.data_modification_timestamp, stat.status_change_timestamp] = times;
        Ok(stat)
    }

    /// The hash that the guest has seen, or this one.
    fn hashed(&self, hash: MetadataHashValue) -> FsResult<MetadataHashValue> {
        let live = || Ok((hash.lower, hash.upper));
        let hash = self.journal.ask_now(|| Question::new(Kind::FileHash), live).map_err(FsError::trap)?;
        Ok(MetadataHashValue { lower: hash.0, upper: hash.1 })
    }
}

/// Another name of the same handle, for a call that takes it by value.
fn same(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

impl preopens::Host for TaskCtx {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Fd, String)>> {
        let Some(root) = &self.files.root else {
            return Ok(Vec::new());
        };
        let dir = match &self.files.scratch {
            Some(scratch) => scratch.dir.clone(),
            None => root.placeholder(),
        };
        // The second name makes it the working directory: C libraries find relative paths there.
        let names = [GUEST_PATH, "."];
        names.into_iter().map(|name| Ok((self.table.push(Descriptor::Dir(dir.clone()))?, name.into()))).collect()
    }
}

impl types::Host for TaskCtx {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.filesystem().convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.filesystem().filesystem_error_code(error)
    }
}

impl HostDescriptor for TaskCtx {
    // What grows, creates or removes.

    async fn set_size(&mut self, fd: Fd, size: Filesize) -> FsResult<()> {
        let before = self.length(&fd)?;
        let growth = size.saturating_sub(before);
        self.files.quota.charge(growth)?;
        let set = self.filesystem().set_size(fd, size).await;
        match &set {
            Ok(()) => self.files.quota.truncated(before.saturating_sub(size)),
            Err(_) => self.files.quota.undo(growth),
        }
        set
    }

    async fn write(&mut self, fd: Fd, buffer: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let growth = offset.saturating_add(buffer.len() as u64).saturating_sub(self.length(&fd)?);
        self.files.quota.charge(growth)?;
        self.filesystem().write(fd, buffer, offset).await
    }

    fn write_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.filesystem().write_via_stream(same(&fd), offset)?;
        self.metered(stream, &fd, Some(offset))
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.filesystem().append_via_stream(same(&fd))?;
        self.metered(stream, &fd, None)
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        self.files.quota.check_open_files()?;
        let (creates, truncates) = (open_flags.contains(OpenFlags::CREATE), open_flags.contains(OpenFlags::TRUNCATE));
        let before = if creates || truncates { self.find(&fd, path_flags, &path).await } else { None };
        let makes_entry = creates && before.is_none();
        if makes_entry {
            self.files.quota.charge_entry()?;
        }
        let opened = self.on(&fd).await?.open_at(same(&fd), path_flags, path.clone(), open_flags, flags).await;
        let opened = self.note_opened(&fd, &path, opened);
        let opened = if makes_entry { self.settle_entry(opened)? } else { opened? };
        if truncates && let Some(before) = before {
            self.files.quota.truncated(before.stat.size);
        }
        let id = match self.filesystem().metadata_hash(same(&opened)).await {
            Ok(hash) => FileId::from(hash),
            Err(error) => {
                // A file that is not known to be open must not be open.
                HostDescriptor::drop(self, opened).map_err(FsError::trap)?;
                return Err(error);
            }
        };
        match self.table.get(&opened)? {
            Descriptor::File(file) => self.files.quota.opened(&file.file, Some(id)),
            Descriptor::Dir(dir) => self.files.quota.opened(&dir.dir, None),
        }
        Ok(opened)
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.note_way_out(&path)?;
        self.files.quota.charge_entry()?;
        let made = self.on(&fd).await?.create_directory_at(fd, path).await;
        self.settle_entry(made)
    }

    async fn symlink_at(&mut self, fd: Fd, old_path: String, new_path: String) -> FsResult<()> {
        self.note_way_out(&new_path)?;
        self.files.quota.charge_entry()?;
        let made = self.on(&fd).await?.symlink_at(fd, old_path, new_path).await;
        self.settle_entry(made)
    }

    async fn link_at(&mut self, fd: Fd, flags: PathFlags, old: String, new_fd: Fd, new: String) -> FsResult<()> {
        self.note_way_out(&old)?;
        self.note_way_out(&new)?;
        self.files.quota.charge_entry()?;
        self.on(&new_fd).await?;
        let made = self.on(&fd).await?.link_at(fd, flags, old, new_fd, new).await;
        self.settle_entry(made)
    }

    async fn unlink_file_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.note_way_out(&path)?;
        let found = self.find(&fd, PathFlags::empty(), &path).await;
        self.on(&fd).await?.unlink_file_at(fd, path).await?;
        if let Some(found) = found {
            self.unlinked(found);
        }
        Ok(())
    }

    async fn remove_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.note_way_out(&path)?;
        self.on(&fd).await?.remove_directory_at(fd, path).await?;
        self.files.quota.undo_entry();
        Ok(())
    }

    async fn rename_at(&mut self, fd: Fd, old: String, new_fd: Fd, new: String) -> FsResult<()> {
        self.note_way_out(&old)?;
        self.note_way_out(&new)?;
        let source = self.find(&fd, PathFlags::empty(), &old).await;
        let replaced = self.find(&new_fd, PathFlags::empty(), &new).await;
        self.on(&fd).await?.rename_at(fd, old, new_fd, new).await?;
        if let (Some(source), Some(replaced)) = (source, replaced) {
            // Renaming a file to another name of itself does nothing.
            if source.file != replaced.file {
                self.unlinked(replaced);
            }
        }
        Ok(())
    }

    // What only reads, or changes nothing that takes space.

    async fn advise(&mut self, fd: Fd, offset: Filesize, length: Filesize, advice: Advice) -> FsResult<()> {
        self.on(&fd).await?.advise(fd, offset, length, advice).await
    }

    async fn sync_data(&mut self, fd: Fd) -> FsResult<()> {
        self.on(&fd).await?.sync_data(fd).await
    }

    async fn sync(&mut self, fd: Fd) -> FsResult<()> {
        self.on(&fd).await?.sync(fd).await
    }

    async fn get_flags(&mut self, fd: Fd) -> FsResult<DescriptorFlags> {
        self.on(&fd).await?.get_flags(fd).await
    }

    async fn get_type(&mut self, fd: Fd) -> FsResult<DescriptorType> {
        // The one question that every guest asks at its start: answered without a directory.
        self.filesystem().get_type(fd).await
    }

    async fn set_times(&mut self, fd: Fd, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()> {
        self.on(&fd).await?.set_times(fd, accessed, modified).await
    }

    async fn read(&mut self, fd: Fd, length: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        self.on(&fd).await?.read(fd, length, offset).await
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<ReaddirIterator>> {
        if self.files.listings.len() >= MAX_LISTINGS {
            return Err(ErrorCode::InsufficientMemory.into());
        }
        let listing = self.on(&fd).await?.read_directory(fd).await?;
        let mut entries = Vec::new();
        while let Some(entry) = self.filesystem().read_directory_entry(Resource::new_borrow(listing.rep())).await? {
            entries.push(entry);
        }
        // The order on the disk is anybody's guess.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        self.files.listings.insert(listing.rep(), entries.into());
        Ok(listing)
    }

    async fn stat(&mut self, fd: Fd) -> FsResult<DescriptorStat> {
        let stat = self.on(&fd).await?.stat(fd).await?;
        self.timed(stat)
    }

    async fn stat_at(&mut self, fd: Fd, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        self.note_way_out(&path)?;
        let stat = self.on(&fd).await?.stat_at(fd, flags, path).await?;
        self.timed(stat)
    }

    async fn set_times_at(
        &mut self,
        fd: Fd,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.note_way_out(&path)?;
        self.on(&fd).await?.set_times_at(fd, flags, path, accessed, modified).await
    }

    async fn readlink_at(&mut self, fd: Fd, path: String) -> FsResult<String> {
        self.note_way_out(&path)?;
        self.on(&fd).await?.readlink_at(fd, path).await
    }

    fn read_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let stream = self.filesystem().read_via_stream(same(&fd), offset)?;
        self.table.delete(stream)?;
        let reader: DynInputStream = Box::new(Reader::new(self.file(&fd)?, offset));
        Ok(self.table.push(reader)?)
    }

    async fn is_same_object(&mut self, a: Fd, b: Fd) -> wasmtime::Result<bool> {
        self.on(&a).await?;
        self.on(&b).await?;
        self.filesystem().is_same_object(a, b).await
    }

    async fn metadata_hash(&mut self, fd: Fd) -> FsResult<MetadataHashValue> {
        let hash = self.on(&fd).await?.metadata_hash(fd).await?;
        self.hashed(hash)
    }

    async fn metadata_hash_at(&mut self, fd: Fd, flags: PathFlags, path: String) -> FsResult<MetadataHashValue> {
        self.note_way_out(&path)?;
        let hash = self.on(&fd).await?.metadata_hash_at(fd, flags, path).await?;
        self.hashed(hash)
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        HostDescriptor::drop(&mut self.filesystem(), fd)
    }
}

impl HostDirectoryEntryStream for TaskCtx {
    async fn read_directory_entry(&mut self, stream: Resource<ReaddirIterator>) -> FsResult<Option<DirectoryEntry>> {
        Ok(self.files.listings.get_mut(&stream.rep()).and_then(VecDeque::pop_front))
    }

    fn drop(&mut self, stream: Resource<ReaddirIterator>) -> wasmtime::Result<()> {
        self.files.listings.remove(&stream.rep());
        HostDirectoryEntryStream::drop(&mut self.filesystem(), stream)
    }
}
