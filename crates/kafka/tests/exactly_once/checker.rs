//! A breadth-first checker for models with some 100,000 states.
//!
//! Responsible for: visiting every state that a model can reach, the shortest way to the first one that breaks a
//! property, and whether a goal stays in reach. Not responsible for: what the model is.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::rc::Rc;

/// Something that has states and goes from one to another in steps.
pub trait Model {
    type State: Clone + Eq + Hash;
    type Step: Copy + Display;

    fn first(&self) -> Self::State;

    /// Every step that can be taken in a state, with the state that it leads to. Always in the same order, so that a
    /// counterexample is the same each time.
    fn steps(&self, state: &Self::State) -> Vec<(Self::Step, Self::State)>;

    /// The property that a state breaks. No step is taken from such a state.
    fn broken(&self, state: &Self::State) -> Option<Broken>;
}

/// A property that does not hold, in words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Broken(pub &'static str);

/// All states that a model can reach, in the order of their distance from the first one.
pub struct Graph<M: Model> {
    states: Vec<Rc<M::State>>,
    /// By which step from which state each one was found first.
    found_by: Vec<Option<(usize, M::Step)>>,
    /// Which state leads to which.
    edges: Vec<(usize, usize)>,
    broken: Vec<(Broken, usize)>,
}

impl<M: Model> Graph<M> {
    /// Visits all. Panics beyond `limit` states: a check that does not end shows nothing.
    pub fn of(model: &M, limit: usize) -> Graph<M> {
        let first = Rc::new(model.first());
        let mut known = HashMap::from([(Rc::clone(&first), 0)]);
        let mut graph: Graph<M> = Graph { states: vec![first], found_by: vec![None], edges: Vec::new(), broken: Vec::new() };
        let mut at = 0;
        while at < graph.states.len() {
            let state = Rc::clone(&graph.states[at]);
            if let Some(broken) = model.broken(&state) {
                graph.broken.push((broken, at));
            } else {
                for (step, next) in model.steps(&state) {
                    let number = *known.entry(Rc::new(next)).or_insert_with_key(|next| {
                        graph.states.push(Rc::clone(next));
                        graph.found_by.push(Some((at, step)));
                        graph.states.len() - 1
                    });
                    graph.edges.push((at, number));
                }
            }
            at += 1;
            assert!(graph.states.len() <= limit, "more than {limit} states");
        }
        graph
    }

    pub fn states(&self) -> usize {
        self.states.len()
    }

    pub fn reaches(&self, is_so: impl Fn(&M::State) -> bool) -> bool {
        self.states.iter().any(|state| is_so(state))
    }

    /// The properties that are broken somewhere, each with the shortest way there.
    pub fn broken(&self) -> Vec<(Broken, Vec<M::Step>)> {
        let mut found: Vec<(Broken, Vec<M::Step>)> = Vec::new();
        for (broken, state) in &self.broken {
            if !found.iter().any(|(other, _)| other == broken) {
                found.push((*broken, self.way_to(*state)));
            }
        }
        found
    }

    /// The shortest way to one of `these` states from which no step leads to the goal any more.
    pub fn stuck(&self, these: impl Fn(&M::State) -> bool, goal: impl Fn(&M::State) -> bool) -> Option<Vec<M::Step>> {
        let mut leads_here = vec![Vec::new(); self.states.len()];
        for (from, to) in &self.edges {
            leads_here[*to].push(*from);
        }
        let mut reaches: Vec<bool> = self.states.iter().map(|state| goal(state)).collect();
        let mut open: Vec<usize> = (0..reaches.len()).filter(|state| reaches[*state]).collect();
        while let Some(state) = open.pop() {
            for from in &leads_here[state] {
                if !std::mem::replace(&mut reaches[*from], true) {
                    open.push(*from);
                }
            }
        }
        let stuck = (0..self.states.len()).find(|state| !reaches[*state] && these(&self.states[*state]))?;
        Some(self.way_to(stuck))
    }

    fn way_to(&self, state: usize) -> Vec<M::Step> {
        let mut steps = Vec::new();
        let mut at = state;
        while let Some((from, step)) = self.found_by[at] {
            steps.push(step);
            at = from;
        }
        steps.reverse();
        steps
    }
}
