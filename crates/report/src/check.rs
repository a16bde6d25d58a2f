//! What the checks found, in words and as JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use migration::{Accept, CheckLevel, Exit, Finding};
use serde_json::{Map, Value, json};

/// What a run sends that nothing refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// The job's records.
    All,
    /// Those that an earlier run did not send.
    Rest,
    /// Nothing: the job is done.
    Nothing,
}

/// Findings, and what of them is let pass.
#[derive(Clone, Copy, Debug)]
pub struct ShownChecks<'a> {
    /// The job's name.
    pub job: &'a str,
    /// In the order of the checks.
    pub findings: &'a [Finding],
    /// Names that the user lets pass.
    pub accepted: &'a BTreeSet<Accept>,
    /// What a run sends then.
    pub sends: Sends,
}

impl ShownChecks<'_> {
    /// How many findings have this level; what is accepted counts as a warning.
    fn count(&self, level: CheckLevel) -> usize {
        self.findings.iter().filter(|finding| self.level(finding) == level).count()
    }

    fn level(&self, finding: &Finding) -> CheckLevel {
        match finding.level {
            CheckLevel::Fail if !finding.refuses(self.accepted) => CheckLevel::Warn,
            level => level,
        }
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        let refusing = self.findings.iter().filter(|finding| finding.refuses(self.accepted));
        refusing.map(|finding| finding.exit).reduce(Exit::worse).unwrap_or(Exit::Done)
    }
}

/// The findings for people.
pub fn text(shown: &ShownChecks<'_>) -> String {
    let mut out = String::new();
    let width = shown.findings.iter().map(|finding| finding.check.name().len()).max().unwrap_or(0);
    for finding in shown.findings {
        let level = shown.level(finding);
        let accepted = if level == finding.level { "" } else { " (accepted)" };
        let _ = writeln!(out, "{:<5} {:<width$}  {}{accepted}", level.name(), finding.check.name(), finding.fact);
        if let Some(mend) = finding.mend.as_ref().filter(|_| level >= CheckLevel::Warn) {
            let _ = writeln!(out, "{:<5} {:<width$}  next: {mend}", "", "");
        }
    }
    let [fail, warn, skip, ok] =
        [CheckLevel::Fail, CheckLevel::Warn, CheckLevel::Skip, CheckLevel::Ok].map(|level| shown.count(level));
    let _ = write!(out, "\n{}: {fail} fail, {warn} warn, {skip} skip, {ok} ok; nothing was sent", shown.job);
    if fail == 0 {
        out.push_str(match shown.sends {
            Sends::All => "; `shardlift run` sends it",
            Sends::Rest => "; `shardlift run` sends the rest",
            Sends::Nothing => "; the job is done: `shardlift run` sends nothing",
        });
    }
    out.push('\n');
    out
}

/// The same for machines.
pub fn object(shown: &ShownChecks<'_>, elapsed: Duration) -> Map<String, Value> {
    let checks: Vec<Value> = shown
        .findings
        .iter()
        .map(|finding| {
            let level = shown.level(finding);
            json!({
                "name": finding.check.name(),
                "level": level.name(),
                "accepted": level != finding.level,
                "fact": finding.fact,
                "mend": finding.mend,
                "accept": finding.accept.map(Accept::name),
            })
        })
        .collect();
    let mut map = Map::new();
    map.insert("job".into(), shown.job.into());
    map.insert("checks".into(), checks.into());
    for level in [CheckLevel::Ok, CheckLevel::Warn, CheckLevel::Fail, CheckLevel::Skip] {
        map.insert(level.name().into(), shown.count(level).into());
    }
    map.insert("elapsed_ms".into(), u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).into());
    map.insert("exit_code".into(), shown.exit().code().into());
    map
}

#[cfg(test)]
mod tests {
    use migration::Check;

    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok(Check::Brokers, "1 broker answers"),
            Finding::fail(Check::Retention, "too old").mend("hold it").accept(Accept::Retention),
            Finding::warn(Check::Skew, "one key").mend("choose another"),
            Finding::skip(Check::Clock, "nothing tells"),
        ]
    }

    #[test]
    fn each_finding_is_a_line_and_its_mend_another() {
        let (findings, none) = (findings(), BTreeSet::new());
        let shown = ShownChecks { job: "j", findings: &findings, accepted: &none, sends: Sends::All };
        let text = text(&shown);
        assert!(text.starts_with("ok    brokers    1 broker answers\nfail  retention  too old\n"), "{text}");
        assert!(text.contains("                 next: hold it\n"), "{text}");
        assert!(text.ends_with("j: 1 fail, 1 warn, 1 skip, 1 ok; nothing was sent\n"), "{text}");
        assert_eq!(shown.exit(), Exit::Preflight);
        let object = object(&shown, Duration::from_millis(7));
        assert_eq!((&object["fail"], &object["exit_code"], &object["elapsed_ms"]), (&json!(1), &json!(4), &json!(7)));
        assert_eq!(object["checks"][1]["accept"], "retention");
    }

    #[test]
    fn what_is_accepted_is_a_warning() {
        let (findings, accepted) = (findings(), BTreeSet::from([Accept::Retention]));
        let shown = ShownChecks { job: "j", findings: &findings, accepted: &accepted, sends: Sends::Nothing };
        assert_eq!(shown.exit(), Exit::Done);
        assert!(text(&shown).contains("warn  retention  too old (accepted)\n"), "{}", text(&shown));
        assert!(text(&shown).ends_with("the job is done: `shardlift run` sends nothing\n"), "{}", text(&shown));
        assert_eq!(object(&shown, Duration::ZERO)["checks"][1]["accepted"], true);
    }
}
