//! Where the records of a TLS stream end, as their headers say: RFC 8446, section 5.1, and the same in
//! all versions since SSL 3.0.
//!
//! Who decrypts can be handed whole records, a few at a time, and is asked only when there is one.
//! Nothing is checked: what is no record is the affair of who decrypts. Where the headers cannot be
//! followed, the stream is [`RecordEnds::is_lost`] for good, and all is handed over as it comes.

/// Type, version, and the length of what follows.
const HEADER_LEN: usize = 5;

/// From `change_cipher_spec` to `heartbeat`: RFC 8446, section 5.1, and RFC 6520.
const TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// The first byte of all versions since SSL 3.0.
const MAJOR_VERSION: u8 = 3;

/// The longest body: RFC 5246, section 6.2.3.
const BODY_MAX: usize = 16 * 1024 + 2048;

/// So much is handed over at a time where it is copied, if no record is longer: one of the largest that are usual.
pub const PIECE_MAX: usize = HEADER_LEN + 16 * 1024 + 256;

/// The first bytes of what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub len: usize,
    /// How many records end in it. The last one ends with the piece, unless there is none.
    pub records: usize,
}

/// Follows one direction of a connection.
#[derive(Debug, Default)]
pub struct RecordEnds {
    header: [u8; HEADER_LEN],
    /// Bytes of the unfinished record that came, with its header.
    begun: usize,
    lost: bool,
}

impl RecordEnds {
    #[must_use]
    pub const fn new() -> Self {
        Self { header: [0; HEADER_LEN], begun: 0, lost: false }
    }

    /// Does nobody know where records end?
    #[inline]
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Bytes of a record whose end has not come.
    #[inline]
    #[must_use]
    pub const fn begun(&self) -> usize {
        self.begun
    }

    /// Takes what is handed over next: whole records of at most `len_max` bytes, or one that is longer, or
    /// the beginning of one. All, if the stream is lost. `data` must not be empty.
    pub fn take(&mut self, data: &[u8], len_max: usize) -> Piece {
        let mut piece = Piece { len: 0, records: 0 };
        while piece.len < data.len() && !self.lost {
            let rest = &data[piece.len..];
            match self.end_of_record(rest) {
                Some(end) if piece.records == 0 || piece.len + end <= len_max => {
                    piece.len += end;
                    piece.records += 1;
                    self.begun = 0;
                }
                None if piece.records == 0 => {
                    self.begun += rest.len();
                    piece.len = data.len();
                }
                _ => return piece,
            }
        }
        if self.lost {
            piece.len = data.len();
        }
        piece
    }

    /// Takes all of `data`.
    pub fn take_all(&mut self, data: &[u8]) {
        let mut taken = 0;
        while taken < data.len() {
            taken += self.take(&data[taken..], usize::MAX).len;
        }
    }

    /// How many bytes of `data` belong to the record that it begins with, or goes on with. None if that
    /// has no end there.
    fn end_of_record(&mut self, data: &[u8]) -> Option<usize> {
        if self.begun < HEADER_LEN {
            let missing = &mut self.header[self.begun..];
            let count = missing.len().min(data.len());
            missing[..count].copy_from_slice(&data[..count]);
            if self.begun + count < HEADER_LEN {
                self.lost = !is_header(&self.header[..self.begun + count]);
                return None;
            }
        }
        let body = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
        if !is_header(&self.header) || body > BODY_MAX {
            self.lost = true;
            return None;
        }
        let missing = HEADER_LEN + body - self.begun;
        (missing <= data.len()).then_some(missing)
    }
}

/// Can a header begin so?
fn is_header(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|kind| TYPES.contains(kind))
        && bytes.get(1).is_none_or(|version| *version == MAJOR_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(len: u16) -> Vec<u8> {
        let mut record = vec![23, 3, 3];
        record.extend_from_slice(&len.to_be_bytes());
        record.resize(record.len() + usize::from(len), 0xff);
        record
    }

    fn pieces(ends: &mut RecordEnds, mut data: &[u8]) -> Vec<(usize, usize)> {
        let mut pieces = vec![];
        while !data.is_empty() {
            let piece = ends.take(data, PIECE_MAX);
            pieces.push((piece.len, piece.records));
            data = &data[piece.len..];
        }
        pieces
    }

    #[test]
    fn small_records_share_a_piece() {
        let mut ends = RecordEnds::new();
        assert_eq!(pieces(&mut ends, &record(100).repeat(3)), [(315, 3)]);
        assert_eq!(ends.begun(), 0);
    }

    #[test]
    fn large_records_are_pieces_of_their_own() {
        let data = [record(16_401), record(16_401), record(10), record(10)].concat();
        assert_eq!(pieces(&mut RecordEnds::new(), &data), [(16_406, 1), (16_406 + 30, 3)]);
    }

    #[test]
    fn longest_record_is_one_piece() {
        let data = [record(18_432), record(1)].concat();
        assert_eq!(pieces(&mut RecordEnds::new(), &data), [(18_437, 1), (6, 1)]);
    }

    #[test]
    fn unfinished_record_is_a_piece_without_an_end() {
        let mut ends = RecordEnds::new();
        let data = [record(7), record(100)[..50].to_vec()].concat();
        assert_eq!(pieces(&mut ends, &data), [(12, 1), (50, 0)]);
        assert_eq!(ends.begun(), 50);
        assert_eq!(pieces(&mut ends, &record(100)[50..]), [(55, 1)]);
    }

    #[test]
    fn record_that_comes_byte_by_byte_ends_once() {
        let mut ends = RecordEnds::new();
        let data = record(3).repeat(2);
        let ended: Vec<_> = data.iter().map(|byte| ends.take(&[*byte], PIECE_MAX).records).collect();
        assert_eq!(ended, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn empty_record_ends_with_its_header() {
        let mut ends = RecordEnds::new();
        assert_eq!(pieces(&mut ends, &record(0)[..4]), [(4, 0)]);
        assert_eq!(pieces(&mut ends, &[0]), [(1, 1)]);
    }

    #[test]
    fn what_is_no_record_is_lost_at_once_and_handed_over() {
        // An SSL 2.0 ClientHello, plain text, another version, and a length that nobody may send.
        let wrong: [&[u8]; 4] = [&[0x80, 0x2e, 1, 3, 1], b"GET / HTTP/1.1", &[23, 4], &[23, 3, 3, 0x48, 1]];
        for data in wrong {
            let mut ends = RecordEnds::new();
            let all = [record(5).as_slice(), data].concat();
            assert_eq!(pieces(&mut ends, &all).iter().map(|piece| piece.0).sum::<usize>(), all.len());
            assert!(ends.is_lost());
            assert_eq!(ends.take(&record(5).repeat(9000), PIECE_MAX), Piece { len: 90_000, records: 0 });
        }
    }

    #[test]
    fn all_can_be_taken_without_a_look() {
        let mut ends = RecordEnds::new();
        ends.take_all(&[record(9), record(16_401), record(20)[..8].to_vec()].concat());
        assert_eq!(ends.begun(), 8);
    }
}
