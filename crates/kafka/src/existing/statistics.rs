//! What a client's statistics say of answers that were held back.
//!
//! Responsible for: the longest time in them. Not responsible for: how often they come.

use std::time::Duration;

/// The longest time for which a broker held an answer back, by statistics in JSON. Each broker has a `throttle`, with
/// the longest of the newest interval in milliseconds.
pub(super) fn longest_throttle(json: &str) -> Duration {
    const NAME: &str = "\"throttle\":";
    let longest = json.split(NAME).skip(1).filter_map(|after| {
        let (object, _) = after.trim_start().strip_prefix('{')?.split_once('}')?;
        let (_, max) = object.split_once("\"max\":")?;
        let number = max.trim_start();
        number[..number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len())].parse::<u64>().ok()
    });
    Duration::from_millis(longest.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_all_brokers_counts() {
        let broker = |max| {
            format!(
                "\"a:1/1\": {{ \"rtt\": {{ \"min\":1, \"max\":9999 }}, \"throttle\": {{ \"min\":0, \"max\":{max}, \"avg\":7, \
                 \"sum\":14 }}, \"toppars\":{{ }} }}"
            )
        };
        let both = format!("{{ \"brokers\":{{ {}, {} }} }}", broker(120), broker(40));
        assert_eq!(longest_throttle(&both.replace("\"throttle\": ", "\"throttle\":")), Duration::from_millis(120));
        assert_eq!(longest_throttle(&broker(0)), Duration::ZERO);
        for strange in ["", "{}", "\"throttle\":", "\"throttle\":{", "\"throttle\":{\"max\":}", "\"throttle\":[1]"] {
            assert_eq!(longest_throttle(strange), Duration::ZERO, "{strange}");
        }
    }
}
