//! The example dataset: orders that look real, each line unique, the same for the same seed.
//!
//! Responsible for the lines. Not for files (the `make-dataset` program) and not for bad lines.

use std::io::Write;

use jiff::Span;

use crate::random::Random;

/// How many customers there are; a customer's id is the record's key.
pub const CUSTOMERS: usize = 20_000;

const TABLE_BITS: u32 = 18;
/// 2026-03-01T00:00:00Z, in seconds since 1970.
const FIRST_SECOND: u64 = 1_772_323_200;
const PERIOD_S: u64 = 90 * 86_400;
const CURRENCIES: [&str; 8] = ["EUR", "EUR", "EUR", "USD", "USD", "GBP", "CHF", "SEK"];
const STATUSES: [&str; 8] = ["paid", "paid", "paid", "sent", "sent", "done", "open", "back"];
const NOTE: &[u8] = b"please ring twice and leave the parcel with the neighbours on the second floor, thank you; ";

/// An endless generator of order lines; `records` only spreads them over 90 days.
pub struct Orders {
    random: Random,
    customers: Vec<u16>,
    next: u64,
    records: u64,
    bytes_per_line: usize,
    day: (u64, String),
}

impl Orders {
    /// Lines are padded with a note up to `bytes_per_line`, line end included; 0 = their natural length, about 135
    /// bytes.
    pub fn new(seed: u64, records: u64, bytes_per_line: usize) -> Self {
        Orders {
            random: Random::new(seed),
            customers: customer_table(),
            next: 0,
            records: records.max(1),
            bytes_per_line,
            day: (u64::MAX, String::new()),
        }
    }

    /// Appends one line with its line end.
    pub fn next_line(&mut self, line: &mut Vec<u8>) {
        let number = self.next;
        self.next += 1;
        let dice = self.random.next_u64();
        let customer = self.customers[(dice >> (64 - TABLE_BITS)) as usize];
        let second = FIRST_SECOND + (u128::from(number) * u128::from(PERIOD_S) / u128::from(self.records)) as u64;
        let of_day = second % 86_400;
        let cents = 199 + (dice & 0x3fff) * ((dice >> 14 & 3) + 1);
        self.turn_to(second / 86_400);
        let start = line.len();
        write!(
            line,
            r#"{{"order_id":{},"customer_id":"c{}","created_at":"{}T{:02}:{:02}:{:02}Z","amount":{}.{:02},"currency":"{}","items":{},"status":"{}""#,
            number + 1,
            customer + 1,
            self.day.1,
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60,
            cents / 100,
            cents % 100,
            CURRENCIES[(dice >> 16 & 7) as usize],
            (dice >> 19 & 7) + 1,
            STATUSES[(dice >> 22 & 7) as usize],
        )
        .expect("writing to memory can't fail");
        pad(line, start, self.bytes_per_line);
        line.extend_from_slice(b"}\n");
    }

    /// Keeps the text of the current day, which changes rarely.
    fn turn_to(&mut self, day: u64) {
        if self.day.0 != day {
            self.day = (day, date(day));
        }
    }
}

/// Adds `,"note":"…"` so that the line gets `bytes_per_line` long with its `}` and line end; nothing if it is too long
/// for that.
fn pad(line: &mut Vec<u8>, start: usize, bytes_per_line: usize) {
    const FRAME: usize = r#","note":"""#.len();
    let length = line.len() - start + FRAME + 2;
    if bytes_per_line < length {
        return;
    }
    line.extend_from_slice(br#","note":""#);
    line.extend(NOTE.iter().cycle().take(bytes_per_line - length));
    line.push(b'"');
}

/// For a random number of `TABLE_BITS` bits the customer: the inverse of the cumulated weights k^-0.7.
fn customer_table() -> Vec<u16> {
    let weights: Vec<f64> = (1..=CUSTOMERS).map(|k| (k as f64).powf(-0.7)).collect();
    let total: f64 = weights.iter().sum();
    let size = 1usize << TABLE_BITS;
    let mut table = Vec::with_capacity(size);
    let (mut customer, mut reached) = (0, weights[0]);
    for slot in 0..size {
        while reached < total * (slot as f64 + 0.5) / size as f64 && customer + 1 < CUSTOMERS {
            customer += 1;
            reached += weights[customer];
        }
        table.push(customer as u16);
    }
    table
}

/// `YYYY-MM-DD` of a day since 1970.
fn date(day: u64) -> String {
    let day = Span::new().days(day as i64);
    jiff::civil::date(1970, 1, 1).checked_add(day).expect("a day of this millennium").to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::murmur2::partition_of;

    fn lines(seed: u64, records: u64, bytes_per_line: usize) -> Vec<Vec<u8>> {
        let mut orders = Orders::new(seed, records, bytes_per_line);
        (0..records)
            .map(|_| {
                let mut line = Vec::new();
                orders.next_line(&mut line);
                line
            })
            .collect()
    }

    #[test]
    fn dates_of_known_days() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(FIRST_SECOND / 86_400), "2026-03-01");
        assert_eq!(date(FIRST_SECOND / 86_400 + 305), "2026-12-31");
    }

    #[test]
    fn the_same_seed_gives_the_same_lines_and_another_seed_others() {
        assert_eq!(lines(7, 500, 0), lines(7, 500, 0));
        assert_ne!(lines(7, 500, 0), lines(8, 500, 0));
    }

    #[test]
    fn lines_are_valid_unique_and_of_the_promised_size() {
        let all = lines(1, 20_000, 0);
        let mean = all.iter().map(Vec::len).sum::<usize>() / all.len();
        assert!((128..=138).contains(&mean), "mean length {mean}");
        let unique: HashSet<&[u8]> = all.iter().map(Vec::as_slice).collect();
        assert_eq!(unique.len(), all.len());
        for line in &all {
            let order: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
            assert!(order["customer_id"].is_string() && order["amount"].is_number());
        }
        assert!(lines(1, 1000, 1024).iter().all(|line| line.len() == 1024 && line.ends_with(b"\"}\n")));
    }

    #[test]
    fn the_default_dataset_fits_the_embedded_broker() {
        let mut bytes = [0usize; 16];
        let mut customers: HashMap<String, u64> = HashMap::new();
        for line in lines(1, 250_000, 0) {
            let order: serde_json::Value = serde_json::from_slice(&line).expect("a line is JSON");
            let key = order["customer_id"].as_str().expect("a string").to_owned();
            bytes[partition_of(key.as_bytes(), 16) as usize] += line.len() + key.len() + 12;
            *customers.entry(key).or_default() += 1;
        }
        assert!(bytes.iter().all(|bytes| *bytes < 4 << 20), "{bytes:?}");
        assert!(bytes.iter().sum::<usize>() < 45 << 20);
        assert!(customers.len() > 15_000);
        assert!(customers.values().max().expect("not empty") > &2_000, "some customers are hot");
    }
}
