//! FNV-1a: tells a torn record, and makes names that every release finds again. It guards against
//! no enemy: what has the same hash need not be the same.

/// The 64-bit hash of bytes.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    of_words(bytes.iter().map(|byte| u64::from(*byte)))
}

/// The same by words of up to 8 bytes, of which each takes as long as one byte.
pub fn of_words(words: impl IntoIterator<Item = u64>) -> u64 {
    let hash = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3);
    words.into_iter().fold(0xcbf2_9ce4_8422_2325, hash)
}

/// The 32-bit hash of bytes.
pub fn of_bytes_32(bytes: &[u8]) -> u32 {
    let hash = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_its_authors_have_published() {
        assert_eq!((of_bytes(b""), of_bytes_32(b"")), (0xcbf2_9ce4_8422_2325, 0x811c_9dc5));
        assert_eq!((of_bytes(b"a"), of_bytes_32(b"a")), (0xaf63_dc4c_8601_ec8c, 0xe40c_292c));
        let foobar = (of_bytes(b"foobar"), of_bytes_32(b"foobar"));
        assert_eq!(foobar, (0x8594_4171_f739_67e8, 0xbf9c_f968));
    }
}
