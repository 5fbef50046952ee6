//! The C library's heaps.

/// Keeps this process to so many heaps, from which all its threads take memory. Without it glibc
/// makes one for each thread, up to eight a processor, and none gives back what another could use:
/// of a daemon whose threads mostly wait that was a third. To be called before there are threads;
/// see `M_ARENA_MAX` in mallopt(3). Does nothing with another C library.
pub fn keep_to(heaps: i32) {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: numbers alone; an unknown parameter or value is refused.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = heaps;
}

/// Gives back to the kernel what is free of the heaps, also between what is used: what many tasks took
/// at once, as at a start, and nobody needs any more. Does nothing with another C library.
pub fn trim() {
    // SAFETY: it takes the heaps' own locks.
    #[cfg(target_env = "gnu")]
    let _ = unsafe { libc::malloc_trim(0) };
}
