//! Figures that only comparisons have: spreads over rounds, and what was asked for.

use report::figures::number;

use crate::figures::Spread;

/// What was asked for, without digits that were not typed: 10, 2.5, 0.3.
pub fn plain(value: f64) -> String {
    number(value).as_f64().map_or_else(|| "-".to_owned(), |rounded| rounded.to_string())
}

/// Half of the way from the least to the greatest, in percent of the median: "±2 %". Nothing for one round.
pub fn show_spread(spread: &Spread, rounds: u32) -> String {
    let half = (spread.most - spread.least) / 2.0 / spread.median;
    match half.is_finite() && rounds > 1 {
        true if half < 0.00995 => format!("±{:.1} %", half * 100.0),
        true => format!("±{:.0} %", half * 100.0),
        false => String::new(),
    }
}

/// How many rounds there were.
pub fn show_rounds(rounds: u32) -> String {
    if rounds == 1 { "one round".to_owned() } else { format!("{rounds} rounds") }
}

/// What to know about figures of one round.
pub fn only_round(rounds: u32) -> Option<String> {
    (rounds == 1).then(|| "one round is no fact, so nothing is concluded from it: --rounds 3".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_as_it_was_typed() {
        assert_eq!([10.0, 2.5, 0.3, 0.0].map(plain), ["10", "2.5", "0.3", "0"]);
    }

    #[test]
    fn spreads_are_parts_of_the_median() {
        let spread = Spread { median: 100.0, least: 97.0, most: 105.0 };
        assert_eq!(show_spread(&spread, 5), "±4 %");
        assert_eq!(show_spread(&spread, 1), "", "one round has no spread");
        assert_eq!(show_spread(&Spread::default(), 5), "");
    }
}
