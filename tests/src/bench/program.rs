//! Bytes that compress as programs do.

use std::io::Read;

/// How far back deflate can copy from.
const WINDOW: usize = 32 << 10;

/// xorshift64.
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number of `from..to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + (self.next() >> 11) % (to - from)
    }
}

/// Literal bytes, of which some are far more frequent, between copies from what came before, most
/// of them short and from near.
pub struct Program {
    random: Random,
    /// A window of what was given, and what comes next.
    bytes: Vec<u8>,
    /// Where that begins.
    at: usize,
}

impl Program {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let bytes: Vec<u8> = (0..WINDOW).map(|_| literal(&mut random)).collect();
        Self { random, at: bytes.len(), bytes }
    }

    fn go_on(&mut self) {
        self.bytes.drain(..self.bytes.len() - WINDOW);
        while self.bytes.len() < 4 * WINDOW {
            if self.random.within(0, 100) < 64 {
                let byte = literal(&mut self.random);
                self.bytes.push(byte);
                continue;
            }
            let length = match self.random.within(0, 100) {
                0..70 => self.random.within(3, 7),
                70..90 => self.random.within(7, 15),
                90..98 => self.random.within(15, 41),
                _ => self.random.within(41, 200),
            };
            let reach = 1 << self.random.within(9, 16);
            let from = self.bytes.len() - self.random.within(200, reach.max(201)) as usize;
            self.bytes.extend_from_within(from..from + length as usize);
        }
        self.at = WINDOW;
    }
}

/// The smaller values more often.
fn literal(random: &mut Random) -> u8 {
    let bits = random.next() >> 20;
    (bits as u8) & ((bits >> 8) as u8 | (bits >> 16) as u8)
}

impl Read for Program {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.bytes.len() {
            self.go_on();
        }
        let count = buffer.len().min(self.bytes.len() - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
