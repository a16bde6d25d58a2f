//! What can be typed after `scale` and `throttle`.

use clap::Args;
use migration::steer::Scale;
use migration::units::{parse_byte_rate, parse_rate};

use super::BegunJobArgs;

/// `scale`.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// A number of workers, a number more or fewer, or as many as this machine has processors for
    #[arg(value_name = "N|+N|-N|auto", allow_hyphen_values = true, value_parser = parse_scale)]
    pub wish: Scale,
    /// Which job.
    #[command(flatten)]
    pub job: BegunJobArgs,
}

/// `throttle`.
#[derive(Debug, Args)]
pub struct ThrottleArgs {
    /// Records a second, such as 50000, 50_000/s or 50k; `none` alone takes every limit away
    #[arg(value_name = "RECORDS/s|none", value_parser = parse_rate, required_unless_present = "bytes")]
    pub records: Option<f64>,
    /// Bytes of keys and values a second, such as 20MiB/s, or `none`
    #[arg(long, env = "SHARDLIFT_THROTTLE_BYTES", value_name = "SIZE/s|none", value_parser = parse_byte_rate)]
    pub bytes: Option<f64>,
    /// Which job.
    #[command(flatten)]
    pub job: BegunJobArgs,
}

fn parse_scale(text: &str) -> Result<Scale, String> {
    let wrong = || format!("`{text}` is not a number of workers; write 8, +2, -2 or auto");
    let number = |digits: &str| {
        // `+-2` is no number, though the standard library takes a sign.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u32>().ok().filter(|_| plain).ok_or_else(wrong)
    };
    match text.split_at_checked(1) {
        _ if text == "auto" => Ok(Scale::Auto),
        Some(("+", more)) => number(more).map(Scale::Up),
        Some(("-", fewer)) => number(fewer).map(Scale::Down),
        _ => number(text).map(Scale::To),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn numbers_of_workers() {
        assert_eq!(parse_scale("8"), Ok(Scale::To(8)));
        assert_eq!(parse_scale("+2"), Ok(Scale::Up(2)));
        assert_eq!(parse_scale("-2"), Ok(Scale::Down(2)));
        assert_eq!(parse_scale("auto"), Ok(Scale::Auto));
        for wrong in ["", "+", "-", "+-2", "--2", "2.5", "two", "-c", "99999999999"] {
            assert!(parse_scale(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_below_zero_is_no_flag() {
        let wish = |words: &[&str]| match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Command::Scale(args)) => Some((args.wish, args.job.job.config.config.display().to_string())),
            _ => None,
        };
        assert_eq!(wish(&["shardlift", "scale", "-2", "-c", "a.toml"]), Some((Scale::Down(2), "a.toml".to_owned())));
        assert_eq!(wish(&["shardlift", "scale", "-c", "a.toml", "-2"]), Some((Scale::Down(2), "a.toml".to_owned())));
        assert_eq!(wish(&["shardlift", "scale"]), None);
        assert_eq!(wish(&["shardlift", "scale", "-c", "a.toml"]), None);
    }

    #[test]
    fn a_limit_of_one_kind_is_enough() {
        let limits = |words: &[&str]| match Cli::try_parse_from([&["shardlift", "throttle"], words].concat()) {
            Ok(Cli { command: Command::Throttle(args), .. }) => Some((args.records, args.bytes)),
            _ => None,
        };
        assert_eq!(limits(&["50k/s"]), Some((Some(50_000.0), None)));
        assert_eq!(limits(&["none", "--bytes", "1MiB/s"]), Some((Some(f64::INFINITY), Some(1048576.0))));
        assert_eq!(limits(&["--bytes", "none"]), Some((None, Some(f64::INFINITY))));
        assert_eq!(limits(&[]), None);
        assert_eq!(limits(&["fast"]), None);
    }
}
