//! Files: when what was written to them goes to the disk.

use std::os::fd::AsRawFd;

/// Has the kernel begin to write a part of a file to its disk, so that a sync later has less
/// to wait for. Nothing is promised, so failing is no error.
pub fn begin_to_write_out(file: &std::fs::File, offset: u64, length: u64) {
    let (offset, length) = (offset.cast_signed(), length.cast_signed());
    // SAFETY: the call takes plain numbers and a descriptor, which is open as long as `file`
    // is borrowed; it changes neither memory nor the content of the file.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}
