//! The phase `exit`: whatever became of it, its result is printed, and the state says the same.

use std::time::Duration;

use migration::{Cause, Exit};
use report::run::{Continued, EndedRun};

use super::pass::Pass;
use super::verify::Judged;
use crate::{letters, log, words};

/// How long an embedded broker may take to end after a second signal.
const BROKER_PATIENCE: Duration = Duration::from_millis(200);

/// Ends the embedded broker, prints the result, and says how to exit.
pub fn exit(pass: Pass<'_>, judged: Judged) -> Exit {
    let Judged { context, mut report, mut causes, mut revised, verified } = judged;
    let files = || context.plan.objects.iter().map(|object| object.path.clone()).collect();
    let seen = letters::seen(&report, &context.dead_letters, files);
    let limit = pass.job.limits.max_bad_records;
    if let Some(why) = report::letters::over_limit(&report, &seen, limit) {
        revised |= causes.reword(Cause::TooManyBad, &why);
    }
    let exit = causes.exit();
    (report.exit, report.outcome, report.reasons) = (Some(exit), exit.into(), causes.reasons());
    if revised {
        // So that `status` says the same as this run does.
        let told = pass.store().and_then(|mut store| store.revise_end(exit.code(), &report.reasons));
        if let Err(error) = told {
            tracing::warn!("the state does not know that the comparison ended with {}: {error}", exit.code());
        }
    }
    let complete = report.shards.done == report.shards.total;
    let started_over = pass.broker.is_some() && (!complete || exit == Exit::Stopped);
    let continued = if started_over { Continued::NotAtAll } else { Continued::With(again(words::of_this_process())) };
    match pass.broker {
        Some(broker) if matches!(exit, Exit::Signal(_)) => drop(broker.stop(BROKER_PATIENCE)),
        broker => drop(broker),
    }
    log::print_through(None);
    let run = EndedRun { report: &report, notes: &context.plan.notes, verified: verified.as_ref() };
    pass.ui.result(|| report::run::text(&run, &seen, &continued), || report::run::object(&run, &seen));
    exit
}

/// The command line that continues this run: what was typed, but for what would start over, and for the addition that
/// is made. Secrets never stand in it: the config refuses them there.
fn again(typed: impl Iterator<Item = String>) -> String {
    words::joined(typed.filter(|word| !["--restart", "--yes", "--add"].contains(&&**word)))
}

#[cfg(test)]
mod tests {
    use super::again;

    fn continued(words: &[&str]) -> String {
        again(words.iter().map(|&word| word.to_owned()))
    }

    #[test]
    fn the_command_that_continues_is_the_one_that_was_typed() {
        let typed =
            ["run", "-b", "kafka-1:9092,kafka-2:9092", "--limit", "10", "--restart", "--yes", "--set", "job.name = \"it's\""];
        assert_eq!(continued(&typed), r#"shardlift run -b kafka-1:9092,kafka-2:9092 --limit 10 --set 'job.name = "it'\''s"'"#);
        assert_eq!(continued(&["run", "--add", "-q"]), "shardlift run -q");
        assert_eq!(continued(&["run", "-c", "a b.toml", ""]), "shardlift run -c 'a b.toml' ''");
    }
}
