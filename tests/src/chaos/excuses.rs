//! Which exit codes of runs the faults so far explain. A fault excuses a code as long as it lasts, and afterwards only
//! for runs that had begun before it was over.

use std::time::Instant;

/// Codes that need no fault: done, and one that asks for another run.
const ALWAYS: [i32; 2] = [0, 75];

/// What is excused.
#[derive(Debug, Default)]
pub struct Excuses(Vec<Excuse>);

#[derive(Debug)]
struct Excuse {
    code: i32,
    /// `None` = it lasts.
    over: Option<Instant>,
}

impl Excuses {
    /// From now on a run may end with this code.
    pub fn begin(&mut self, code: i32) {
        self.0.push(Excuse { code, over: None });
    }

    /// What excused this code is over: runs that begin from now on may not end with it.
    pub fn end(&mut self, code: i32) {
        let lasting = self.0.iter_mut().filter(|excuse| excuse.code == code && excuse.over.is_none());
        lasting.for_each(|excuse| excuse.over = Some(Instant::now()));
    }

    /// Whether a run that began at this moment may have ended with this code.
    pub fn explain(&self, code: i32, began: Instant) -> bool {
        let excuses = |excuse: &Excuse| excuse.code == code && excuse.over.is_none_or(|over| began <= over);
        ALWAYS.contains(&code) || self.0.iter().any(excuses)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_code_is_taken_back_from_runs_that_begin_when_the_fault_is_over() {
        let mut excuses = Excuses::default();
        let before = Instant::now();
        assert!(excuses.explain(75, before) && !excuses.explain(7, before));
        excuses.begin(7);
        let meanwhile = Instant::now();
        assert!(excuses.explain(7, before) && excuses.explain(7, meanwhile) && !excuses.explain(4, meanwhile));
        excuses.end(7);
        let after = Instant::now() + Duration::from_millis(1);
        assert!(excuses.explain(7, before) && excuses.explain(7, meanwhile));
        assert!(!excuses.explain(7, after) && excuses.explain(0, after));
        excuses.begin(7);
        assert!(excuses.explain(7, after), "the same fault again");
    }
}
