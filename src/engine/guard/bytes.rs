//! The guard's record as bytes that workers share. It is read and written at every tick, so it is small:
//! counts take as many bytes as they need, and evidence is kept in four.

use std::ops::Deref;

use crate::config::Millis;

use super::evidence::{Evidence, Remembered};
use super::figures::{Pair, Part, Totals, Window};
use super::record::{Phase, Record};
use super::users::{Name, Sufferers};

/// Which layout this is; another one is no record.
const LAYOUT: u8 = 0x23;

/// A record as bytes: at most 256 with 20,000 requests a second, and never more than there is room for.
#[derive(Clone, Debug)]
pub struct Bytes {
    room: [u8; Self::MOST],
    length: usize,
}

impl Record {
    /// The record as bytes. Evidence and what is remembered of stable lose what a four-byte number does not
    /// hold, always downwards: a trip comes no sooner by that, so the bound on false ones holds.
    #[inline(never)]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Bytes { room: [0; Bytes::MOST], length: 0 };
        let phase = match self.phase {
            Phase::In => 0,
            Phase::Out => 1,
            Phase::Probing => 2,
        };
        out.byte(LAYOUT);
        out.byte(phase);
        out.number(u64::from(self.round));
        out.number(self.first_trip.unwrap_or(0));
        out.number(self.block_began);
        out.pair(self.block);
        out.pair(self.trial);
        let causes = self.remembered.iter().zip(&self.evidence).zip(&self.sufferers);
        for ((known, evidence), sufferers) in causes {
            out.cause(*known, *evidence, sufferers);
        }
        let earlier = self.window.earlier();
        out.number(earlier.len() as u64);
        let mut known = self.block_began;
        for Part { began, answered } in earlier.iter().rev().chain([&self.window.last]) {
            out.number(apart(known, *began));
            out.pair(*answered);
            known = *began;
        }
        out
    }

    /// Reads a record; `None` if it is not one.
    #[inline(never)]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        if from.byte()? != LAYOUT {
            return None;
        }
        let mut record = Self {
            phase: match from.byte()? {
                0 => Phase::In,
                1 => Phase::Out,
                2 => Phase::Probing,
                _ => return None,
            },
            round: from.number()?.try_into().ok()?,
            first_trip: Some(from.number()?).filter(|at| *at > 0),
            block_began: from.number()?,
            block: from.pair()?,
            trial: from.pair()?,
            ..Self::default()
        };
        let causes = record.remembered.iter_mut().zip(&mut record.evidence);
        for ((known, evidence), sufferers) in causes.zip(&mut record.sufferers) {
            from.cause(known, evidence, sufferers)?;
        }
        let earlier = from.count(Window::PARTS - 1)?;
        let mut known = record.block_began;
        for part in 0..=earlier {
            known = at(known, from.number()?);
            let next = Part { began: known, answered: from.pair()? };
            match part {
                0 => record.window.last = next,
                _ => record.window.later(next),
            }
        }
        from.0.is_empty().then_some(record)
    }
}

/// How far `began` is from a time that is known, as a number that is small where they are near: twice the
/// distance, and one less where `began` is the earlier.
fn apart(known: Millis, began: Millis) -> u64 {
    let after = began.wrapping_sub(known) as i64;
    (after << 1 ^ after >> 63) as u64
}

/// The time that is so far `apart` from one that is known.
fn at(known: Millis, apart: u64) -> Millis {
    known.wrapping_add(apart >> 1 ^ (apart & 1).wrapping_neg())
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.room.get(..self.length).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Bytes {
    /// With every number as long as it can be.
    const MOST: usize = 2
        + 3 * Self::NUMBER
        + 2 * Self::PAIR
        + 2 * Self::CAUSE
        + 1
        + Window::PARTS * (Self::NUMBER + Self::PAIR);
    const NUMBER: usize = 10;
    const PAIR: usize = 1 + 6 * Self::NUMBER;
    const CAUSE: usize = 1 + Sufferers::MOST * 3 + 10 * 4;

    fn byte(&mut self, byte: u8) {
        self.all([byte]);
    }

    #[inline(always)]
    fn all<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(room) = self.room.get_mut(self.length..).and_then(<[u8]>::first_chunk_mut) {
            *room = bytes;
            self.length += N;
        }
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    #[inline(never)]
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// Six counts: first a bit for each that is not 0, then those.
    #[inline(never)]
    fn pair(&mut self, Pair { version, stable }: Pair) {
        let of = |totals: Totals| [totals.answers, totals.failures, totals.slow];
        let counts = [of(version), of(stable)];
        let counts = counts.as_flattened();
        let there = counts.iter().rev().fold(0, |bits, count| bits << 1 | u8::from(*count > 0));
        self.byte(there);
        counts.iter().filter(|count| **count > 0).for_each(|count| self.number(*count));
    }

    #[inline(never)]
    fn float(&mut self, number: f64) {
        // What a four-byte number has no bits for is cut off, and so is what is too small for one.
        let below = f64::from_bits(number.to_bits() & !0x1fff_ffff);
        let below = if below < f64::from(f32::MIN_POSITIVE) { 0.0 } else { below as f32 };
        self.all(below.to_le_bytes());
    }

    /// What is known for one cause: a 0 where that is nothing, else one more than there are sufferers.
    #[inline(never)]
    fn cause(&mut self, known: Remembered, mut evidence: Evidence, sufferers: &Sufferers) {
        let names = sufferers.names();
        if names.is_empty() && known == Remembered::default() && evidence == Evidence::default() {
            return self.byte(0);
        }
        self.byte(names.len() as u8 + 1);
        // The oldest first.
        for name in names.iter().rev() {
            let [a, b, c, _] = name.number().to_le_bytes();
            self.all([a, b, c]);
        }
        self.float(known.answers);
        self.float(known.bad);
        for number in evidence.numbers() {
            self.float(*number);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    #[inline(always)]
    fn some<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (some, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*some)
    }

    fn byte(&mut self) -> Option<u8> {
        let [byte] = self.some()?;
        Some(byte)
    }

    #[inline(never)]
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            number |= bits << shift;
            if byte < 0x80 {
                // There is one way to write a number: none too long, and none too great.
                return (number >> shift == bits && (bits > 0 || shift == 0)).then_some(number);
            }
        }
        None
    }

    /// A count up to `most`.
    fn count(&mut self, most: usize) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= most)
    }

    #[inline(never)]
    fn pair(&mut self) -> Option<Pair> {
        let there = self.byte().filter(|bits| *bits < 1 << 6)?;
        let mut counts = [0; 6];
        for (bit, count) in counts.iter_mut().enumerate() {
            if there >> bit & 1 == 1 {
                *count = self.number().filter(|count| *count > 0)?;
            }
        }
        let [answers, failures, slow, of_stable, its_failures, its_slow] = counts;
        let version = Totals { answers, failures, slow };
        let stable = Totals { answers: of_stable, failures: its_failures, slow: its_slow };
        Some(Pair { version, stable })
    }

    /// A number from 0 up.
    #[inline(never)]
    fn float(&mut self) -> Option<f64> {
        let number = f32::from_le_bytes(self.some()?);
        let is_one = number.to_bits() == 0 || number.is_normal() && number > 0.0;
        is_one.then_some(f64::from(number))
    }

    #[inline(never)]
    fn cause(
        &mut self,
        known: &mut Remembered,
        evidence: &mut Evidence,
        sufferers: &mut Sufferers,
    ) -> Option<()> {
        let Some(many) = self.count(Sufferers::MOST + 1)?.checked_sub(1) else { return Some(()) };
        for _ in 0..many {
            let [a, b, c] = self.some()?;
            sufferers.push(Name::read(u32::from_le_bytes([a, b, c, 0]))?);
        }
        known.answers = self.float()?;
        known.bad = self.float()?;
        for number in evidence.numbers() {
            *number = self.float()?;
        }
        Some(())
    }
}
