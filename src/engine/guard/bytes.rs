//! The guard's record as bytes that workers share: numbers of eight bytes, the lowest first.

use super::figures::{Mark, Pair, Totals};
use super::record::{Phase, Record};
use super::users::Sufferers;

/// Which layout this is; another one is no record.
const LAYOUT: u64 = 0x1_0c04_0221;

impl Record {
    /// The record as bytes.
    #[inline(never)]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(1536));
        let phase = match self.phase {
            Phase::In => 0,
            Phase::Out => 1,
            Phase::Probing => 2,
        };
        out.number(LAYOUT);
        out.number(phase);
        out.number(u64::from(self.round));
        out.number(self.first_trip.unwrap_or(0));
        out.number(self.began);
        out.number(self.block_began);
        for pair in [self.answered, self.at_begin, self.at_block] {
            out.pair(pair);
        }
        for known in self.remembered {
            out.number(known.answers.to_bits());
            out.number(known.bad.to_bits());
        }
        for mut evidence in self.evidence {
            for number in evidence.numbers() {
                out.number(number.to_bits());
            }
        }
        for Sufferers(users) in &self.sufferers {
            out.number(users.len() as u64);
            for user in users {
                out.number(u64::from(*user));
            }
        }
        out.number(self.window.marks.len() as u64);
        for mark in &self.window.marks {
            out.number(mark.at);
            out.pair(mark.answered);
        }
        out.0
    }

    /// Reads a record; `None` if it is not one.
    #[inline(never)]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        if from.number()? != LAYOUT {
            return None;
        }
        let mut record = Self {
            phase: match from.number()? {
                0 => Phase::In,
                1 => Phase::Out,
                2 => Phase::Probing,
                _ => return None,
            },
            round: from.number()?.try_into().ok()?,
            first_trip: Some(from.number()?).filter(|at| *at > 0),
            began: from.number()?,
            block_began: from.number()?,
            answered: from.pair()?,
            at_begin: from.pair()?,
            at_block: from.pair()?,
            ..Self::default()
        };
        for known in &mut record.remembered {
            known.answers = from.float()?;
            known.bad = from.float()?;
        }
        for evidence in &mut record.evidence {
            for number in evidence.numbers() {
                *number = from.float()?;
            }
        }
        for Sufferers(users) in &mut record.sufferers {
            for _ in 0..from.count(Sufferers::MOST)? {
                users.push(from.number()?.try_into().ok()?);
            }
        }
        for _ in 0..from.count(super::figures::Window::PARTS)? {
            let mark = Mark { at: from.number()?, answered: from.pair()? };
            record.window.marks.push(mark);
        }
        from.0.is_empty().then_some(record)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    #[inline(never)]
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    #[inline(never)]
    fn pair(&mut self, Pair { version, stable }: Pair) {
        for Totals { answers, failures, slow } in [version, stable] {
            self.number(answers);
            self.number(failures);
            self.number(slow);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    #[inline(never)]
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    /// A number from 0 up.
    fn float(&mut self) -> Option<f64> {
        Some(f64::from_bits(self.number()?)).filter(|number| *number >= 0.0 && number.is_finite())
    }

    fn count(&mut self, most: usize) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= most)
    }

    fn totals(&mut self) -> Option<Totals> {
        Some(Totals { answers: self.number()?, failures: self.number()?, slow: self.number()? })
    }

    #[inline(never)]
    fn pair(&mut self) -> Option<Pair> {
        Some(Pair { version: self.totals()?, stable: self.totals()? })
    }
}
