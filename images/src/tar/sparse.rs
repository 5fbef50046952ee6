//! Sparse files: GNU's old header, and PAX 0.0, 0.1 and 1.0.

use super::BLOCK;
use super::header::{decimal, unsigned};
use crate::error::{Error, Result};

/// A run of data in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it goes.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// More runs than any real file has in an image.
const MOST_SEGMENTS: u64 = 1 << 20;

type Map = (u64, Vec<Segment>);

/// The `GNU.sparse.*` records of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    /// The real path: the entry's own is a made-up one.
    pub(super) name: Option<Vec<u8>>,
    major: u64,
    size: Option<u64>,
    numbers: Vec<u64>,
}

impl SparseRecords {
    pub(super) fn apply(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.major = decimal(value)?,
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"offset" | b"numbytes" => self.numbers.push(decimal(value)?),
            b"map" => {
                let numbers = value.split(|b| *b == b',').filter(|n| !n.is_empty());
                self.numbers = numbers.map(decimal).collect::<Option<_>>()?;
            }
            _ => {}
        }
        Some(())
    }
}

/// A source of whole blocks.
pub(super) trait Blocks {
    fn next_block(&mut self) -> Result<[u8; BLOCK]>;
}

/// The map of a PAX sparse file; `None` if the entry is not sparse.
pub(super) fn pax(records: &SparseRecords, blocks: &mut impl Blocks) -> Result<Option<Map>> {
    let Some(size) = records.size else { return Ok(None) };
    if records.major == 0 {
        return Ok(Some((size, pairs(&records.numbers)?)));
    }
    let mut lines = Lines { blocks, block: [0; BLOCK], at: BLOCK };
    let count = lines.number()?;
    if count > MOST_SEGMENTS {
        return Err(absurd());
    }
    let numbers = (0..count * 2).map(|_| lines.number()).collect::<Result<Vec<_>>>()?;
    Ok(Some((size, pairs(&numbers)?)))
}

/// PAX 1.0: decimal numbers, a line each, in blocks before the data.
struct Lines<'a, B> {
    blocks: &'a mut B,
    block: [u8; BLOCK],
    at: usize,
}

impl<B: Blocks> Lines<'_, B> {
    fn number(&mut self) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                self.block = self.blocks.next_block()?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return decimal(&digits).ok_or_else(absurd);
            }
            if digits.len() == 20 {
                return Err(absurd());
            }
            digits.push(byte);
        }
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Segment>> {
    if !numbers.len().is_multiple_of(2) {
        return Err(absurd());
    }
    Ok(numbers.chunks_exact(2).map(|p| Segment { offset: p[0], length: p[1] }).collect())
}

/// The map in an `S` header and the blocks that extend it.
pub(super) fn old_gnu(
    header: &[u8; BLOCK],
    mut next: impl FnMut() -> Result<[u8; BLOCK]>,
) -> Result<Map> {
    let mut map = Vec::new();
    let size = unsigned(&header[483..495], "realsize")?;
    collect(&header[386..482], &mut map)?;
    let mut more = header[482] != 0;
    while more {
        let block = next()?;
        collect(&block[..504], &mut map)?;
        more = block[504] != 0;
        if map.len() as u64 > MOST_SEGMENTS {
            return Err(absurd());
        }
    }
    Ok((size, map))
}

fn collect(table: &[u8], map: &mut Vec<Segment>) -> Result<()> {
    for row in table.chunks_exact(24).take_while(|row| row[0] != 0) {
        let offset = unsigned(&row[..12], "sparse offset")?;
        map.push(Segment { offset, length: unsigned(&row[12..], "sparse length")? });
    }
    Ok(())
}

/// Runs in order, without overlap, within the file, and as long together as the data.
pub(super) fn check(map: &[Segment], stored: u64, size: u64) -> Result<()> {
    let mut end = 0;
    let mut total = 0u64;
    for segment in map {
        if segment.offset < end {
            return Err(absurd());
        }
        end = segment.offset.checked_add(segment.length).ok_or_else(absurd)?;
        total += segment.length;
    }
    if end > size || total != stored { Err(absurd()) } else { Ok(()) }
}

fn absurd() -> Error {
    Error::invalid("a sparse map makes no sense")
}
