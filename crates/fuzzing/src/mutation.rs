//! Random changes of a corpus, without knowledge of what the bytes mean.

use crate::LONGEST;

/// Numbers that look random and are the same for the same seed (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0, below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Bytes that mean something to many formats.
const TELLING: [u8; 16] = [0, 1, 0x7F, 0x80, 0xFF, b'\n', b'\r', b'"', b'\'', b',', b'{', b'[', b'\\', b'=', b'.', b'9'];

/// An input made of those of a corpus; any bytes if it is empty.
pub fn input(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = match corpus.len() {
        0 => (0..random.below(64)).map(|_| random.next() as u8).collect(),
        inputs => corpus[random.below(inputs)].clone(),
    };
    for _ in 0..=random.below(6) {
        change(&mut input, corpus, random);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = at + random.below(input.len() - at + 1).min(random.below(64) + 1);
    match random.below(9) {
        0 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        1 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.next() as u8),
        2 => {
            input.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(random.below(9) as u8).wrapping_sub(4))
        }
        3 => input.insert(at, TELLING[random.below(TELLING.len())]),
        4 => drop(input.drain(at..end)),
        5 => {
            let again = input[at..end].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, again);
        }
        6 => input.truncate(at),
        7 if !corpus.is_empty() => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let to = from + random.below(other.len() - from + 1);
            input.splice(at..end, other[from..to].iter().copied());
        }
        _ => {
            let many = random.below(200);
            let byte = TELLING[random.below(TELLING.len())];
            input.splice(at..at, std::iter::repeat_n(byte, many));
        }
    }
}
