//! Which order records keep: what a config asks for, what its source allows, and what a stored plan has.

use crate::{Exit, Job, Plan, UserError};

/// Which order a job's records keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each key's records keep the order of the source, over the whole dataset.
    Key,
    /// Records keep it within a shard and partition only.
    Shard,
}

impl Order {
    /// That of a job that begins now. `repeatable`: whether its source gives the same rows each time it is read, which
    /// each worker of an ordered job does.
    pub fn wanted(job: &Job, repeatable: bool) -> Result<Order, UserError> {
        match (job.orders_keys(), repeatable) {
            (true, true) => Ok(Order::Key),
            (true, false) if job.shards.by_key == Some(true) => Err(UserError::new(
                Exit::Config,
                format!(
                    "`shards.by_key` is true, but {} does not give the same records each time it is read: the workers of \
                     an ordered job each read all of it",
                    job.source.table()
                ),
            )
            .hint("delete `by_key`, or set it to false: records then keep their order within a shard and partition only")),
            _ => Ok(Order::Shard),
        }
    }

    /// That of a plan as it is stored.
    pub fn of(plan: &Plan) -> Order {
        if plan.partitions.is_some() && plan.keeps_order_of_keys() { Order::Key } else { Order::Shard }
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Order::Key => "key",
            Order::Shard => "shard",
        }
    }

    /// What it promises.
    pub const fn promise(self) -> &'static str {
        match self {
            Order::Key => "each key's records keep the source's order over the whole dataset",
            Order::Shard => "kept within a shard and partition only",
        }
    }
}

/// Whether a job may go on with its stored plan in the order that it asks for now. Returns warnings.
pub fn may_go_on(job: &Job, plan: &Plan) -> Result<Vec<String>, UserError> {
    let (sets, planned) = (plan.partitions.is_some(), !plan.shards.is_empty());
    if job.shards.by_key == Some(true) && planned && Order::of(plan) == Order::Shard {
        let why = if sets { "went on with it false behind a file that could not be read" } else { "began without it" };
        let what = format!("`shards.by_key` is true, but job {} {why}, and its plan is frozen", job.name);
        return Err(UserError::new(Exit::Config, what).hint(
            "set it to \"auto\" or false to go on as the job began, or start over with `shardlift run --restart` (which \
             sends everything again)",
        ));
    }
    let dropped = (sets && !job.orders_keys()).then(|| {
        "`shards.by_key` is false, and the job began with order by key: its sets of partitions stay, and what comes behind \
         a file that can't be read is sent all the same, out of order"
            .to_owned()
    });
    Ok(dropped.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Position, Segment, Shard, ShardId};

    fn job(by_key: Option<bool>, key: bool) -> Job {
        let key = if key { "[record]\nkey = \".k\"\n" } else { "" };
        let text = format!("[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"x\"]\n[kafka]\ntopic = \"t\"\n{key}");
        let mut job = Job::of_text(&text);
        job.shards.by_key = by_key;
        job
    }

    fn one_shard() -> Plan {
        let start = Position::default();
        let whole = Shard { id: ShardId(0), segments: 0..1, partitions: None, start, bytes: Some(9), records_estimate: 1 };
        let segments = vec![Segment { object: 0, start: 0, end: 9, bytes: Some(9) }];
        Plan { segments, shards: vec![whole], ..Plan::default() }
    }

    #[test]
    fn a_key_is_ordered_wherever_the_source_can_be_read_again() {
        let wanted = |by_key, key, repeatable| Order::wanted(&job(by_key, key), repeatable).map_err(|error| error.exit);
        assert_eq!(wanted(None, true, true), Ok(Order::Key));
        assert_eq!(wanted(Some(true), true, true), Ok(Order::Key));
        assert_eq!(wanted(Some(false), true, true), Ok(Order::Shard));
        assert_eq!(wanted(None, false, true), Ok(Order::Shard));
        assert_eq!(wanted(None, true, false), Ok(Order::Shard), "asked for by no one");
        assert_eq!(wanted(Some(true), true, false), Err(Exit::Config));
    }

    #[test]
    fn a_stored_plan_stays_as_it_is() {
        let (plain, sets) = (one_shard(), one_shard().into_sets(4, 2));
        assert_eq!((Order::of(&plain), Order::of(&sets)), (Order::Shard, Order::Key));
        let goes_on = |by_key, plan: &Plan| may_go_on(&job(by_key, true), plan);
        assert_eq!(goes_on(None, &plain), Ok(Vec::new()), "an old plan goes on without a word");
        assert_eq!(goes_on(Some(false), &plain), Ok(Vec::new()));
        let error = goes_on(Some(true), &plain).unwrap_err();
        assert_eq!(error.exit, Exit::Config);
        assert!(error.to_string().contains("job j began without it") && error.to_string().contains("--restart"), "{error}");
        assert_eq!(goes_on(Some(true), &Plan::default()), Ok(Vec::new()), "nothing is out of order in nothing");
        assert_eq!((goes_on(None, &sets), goes_on(Some(true), &sets)), (Ok(Vec::new()), Ok(Vec::new())));
        let mut cut = sets.clone();
        let half = crate::Cut { segment: 0, place: 4 };
        cut.objects = vec![crate::SourceObject {
            path: "x".into(),
            bytes: Some(9),
            modified_ns: 0,
            fingerprint: 0,
            compression: crate::Compression::None,
            splittable: true,
            record_starts: Vec::new(),
        }];
        cut.split(ShardId(0), &Position::default(), &crate::Division::Places(vec![half])).unwrap();
        assert_eq!((goes_on(None, &cut), Order::of(&cut)), (Ok(Vec::new()), Order::Shard));
        assert!(goes_on(Some(true), &cut).is_err_and(|error| error.to_string().contains("could not be read")));
        let warnings = goes_on(Some(false), &sets).unwrap();
        assert!(matches!(&warnings[..], [warning] if warning.contains("out of order")), "{warnings:?}");
    }
}
