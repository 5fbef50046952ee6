//! Dirty pages on their way to the disk, see sync_file_range(2).

use std::os::fd::{AsRawFd, BorrowedFd};

/// Starts to write the dirty pages of `length` bytes from `offset` and does not wait for the end.
///
/// Promises nothing: whoever needs the bytes on the disk calls syncfs(2) or fsync(2) afterwards,
/// which tell the errors too. A file system that cannot start by itself leaves all to them.
pub fn start(file: BorrowedFd<'_>, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the call has no pointers, and `file` is open while it lasts.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn what_cannot_be_written_back_is_left_alone() {
        let (_reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"1").unwrap();
        super::start(writer.as_fd(), 0, 1);
        super::start(writer.as_fd(), u64::MAX, 1);
    }
}
