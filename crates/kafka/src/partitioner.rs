//! Which partition a key goes to.
//!
//! Responsible for: the two hashes that other producers of the same topic use. Not responsible for records without a
//! key: the worker gives those to any idle lane.

use migration::job::Partitioner;

/// The function that chooses a partition: key and number of partitions in, partition out; `None` means that the key
/// counts as none.
pub fn choose(partitioner: Partitioner) -> fn(&[u8], u32) -> Option<u32> {
    match partitioner {
        Partitioner::Murmur2 => by_murmur2,
        Partitioner::Crc32 => by_crc32,
    }
}

/// As Kafka's Java client does: every key that is not null is hashed, an empty one too.
fn by_murmur2(key: &[u8], partitions: u32) -> Option<u32> {
    (murmur2(key) & 0x7fff_ffff).checked_rem(partitions)
}

/// As librdkafka's default (`consistent_random`) does: an empty key counts as null.
fn by_crc32(key: &[u8], partitions: u32) -> Option<u32> {
    if key.is_empty() { None } else { crc32fast::hash(key).checked_rem(partitions) }
}

/// MurmurHash 2 with Kafka's seed.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_agrees_with_javas_vectors() {
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key) as i32, hash, "{}", String::from_utf8_lossy(key));
            let expected = (hash & 0x7fff_ffff) as u32 % 7;
            assert_eq!(choose(Partitioner::Murmur2)(key, 7), Some(expected));
        }
    }

    #[test]
    fn crc32_is_the_common_polynomial() {
        assert_eq!(choose(Partitioner::Crc32)(b"123456789", u32::MAX), Some(0xcbf4_3926));
        assert_eq!(choose(Partitioner::Crc32)(b"123456789", 10), Some(0xcbf4_3926 % 10));
    }

    #[test]
    fn an_empty_key_is_hashed_by_one_and_counts_as_null_for_the_other() {
        assert!(choose(Partitioner::Murmur2)(b"", 8).is_some());
        assert_eq!(choose(Partitioner::Crc32)(b"", 8), None);
    }

    #[test]
    fn no_partition_without_partitions() {
        assert_eq!(choose(Partitioner::Murmur2)(b"a", 0), None);
        assert_eq!(choose(Partitioner::Crc32)(b"a", 0), None);
    }
}
