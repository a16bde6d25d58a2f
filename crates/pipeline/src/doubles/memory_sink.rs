//! A sink that keeps what it was given, in the order it was given, and misbehaves where it is told to.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use migration::Failure;

use crate::dead_letter::OutgoingLetter;
use crate::{Blame, Delivered, Group, LettersInFlight, RejectedRecord, Sink, SinkLimits};

/// One stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `None` is a null key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Vec<u8>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// What the sink's clients sent, and what a test wants to know of how.
#[derive(Debug, Default)]
pub struct Topic {
    /// Acknowledged messages by partition.
    pub partitions: Vec<Vec<Stored>>,
    /// Acknowledged dead letters.
    pub letters: Vec<OutgoingLetter>,
    /// The most bytes of letters that were in flight at once.
    pub most_letter_bytes: usize,
    /// Sizes of the groups, in the order they were handed over.
    pub groups: Vec<usize>,
    /// Whether a partition ever had two groups in flight.
    pub two_in_flight: bool,
    /// Whether the client was ended as it should.
    pub finished: bool,
}

/// How a [`MemorySink`] behaves. By default it acknowledges everything, in random order.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// What the topic takes.
    pub limits: SinkLimits,
    /// Values whose batch the broker refuses.
    pub refuse: fn(&[u8]) -> bool,
    /// Whether the broker says because of which records it refuses a batch.
    pub names: bool,
    /// Values that the client refuses before it sends them.
    pub refuse_locally: fn(&[u8]) -> bool,
    /// On average, one of this number of groups in flight is reported at each poll; 1 = all.
    pub patience: u64,
    /// This partition is only served when nothing else is in flight and something waits for it.
    pub slow: Option<u32>,
    /// While true, no report comes.
    pub mute: Rc<RefCell<bool>>,
    /// The group with this number (from 0) comes back with one report too few.
    pub lose_record: Option<usize>,
    /// The group with this number never comes back, and the client forgets about it.
    pub lose_group: Option<usize>,
    /// The group with this number comes back twice.
    pub report_twice: Option<usize>,
    /// Acknowledging a letter with this number (from 0) fails with this.
    pub fail_letter: Option<(usize, Failure)>,
    /// Polling fails with this after that number of groups was handed over.
    pub fail: Option<(usize, Failure)>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            limits: SinkLimits {
                record_bytes: 1_000_000,
                batch_bytes: 1_000_000,
                batch_records: crate::lanes::GROUP_RECORDS,
                alone: None,
            },
            refuse: |_| false,
            names: false,
            refuse_locally: |_| false,
            patience: 3,
            slow: None,
            mute: Rc::default(),
            lose_record: None,
            lose_group: None,
            report_twice: None,
            fail_letter: None,
            fail: None,
        }
    }
}

#[derive(Debug)]
struct InFlight {
    number: usize,
    partition: u32,
    group: Group,
}

/// A sink in memory.
#[derive(Debug)]
pub struct MemorySink {
    topic: Rc<RefCell<Topic>>,
    behaviour: Behaviour,
    in_flight: Vec<InFlight>,
    again: VecDeque<Delivered>,
    letters: VecDeque<OutgoingLetter>,
    outstanding: usize,
    random: u64,
}

impl MemorySink {
    /// A sink of `partitions` partitions; the seed decides in which order reports come.
    pub fn new(partitions: u32, behaviour: Behaviour, seed: u64) -> Self {
        let topic = Topic { partitions: vec![Vec::new(); partitions as usize], ..Topic::default() };
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        MemorySink {
            topic: Rc::new(RefCell::new(topic)),
            behaviour,
            in_flight: Vec::new(),
            again: VecDeque::new(),
            letters: VecDeque::new(),
            outstanding: 0,
            random,
        }
    }

    /// The topic, to look at after the sink is gone.
    pub fn topic(&self) -> Rc<RefCell<Topic>> {
        Rc::clone(&self.topic)
    }

    /// Sends to a topic that another sink wrote to before.
    pub fn onto(self, topic: Rc<RefCell<Topic>>) -> Self {
        MemorySink { topic, ..self }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    fn report(&mut self, flying: InFlight, done: &mut Vec<Delivered>) {
        let InFlight { number, partition, group } = flying;
        let (mut refused, mut passed) = (Vec::new(), Vec::new());
        for (index, message) in group.messages().enumerate() {
            match (self.behaviour.refuse_locally)(message.value) {
                true => refused.push(RejectedRecord { index, reason: "refused by the client".to_owned(), blame: Blame::Own }),
                false => passed.push(index),
            }
        }
        if passed.iter().any(|&index| (self.behaviour.refuse)(group.message(index).value)) {
            let reason = "refused by the broker".to_owned();
            let blame = |index: usize| match self.behaviour.names {
                true if (self.behaviour.refuse)(group.message(index).value) => Blame::Own,
                true => Blame::Others,
                false => Blame::Unknown,
            };
            refused.extend(passed.drain(..).map(|index| RejectedRecord { index, reason: reason.clone(), blame: blame(index) }));
            refused.sort_by_key(|refusal| refusal.index);
        }
        let stored = passed.iter().map(|&index| {
            let message = group.message(index);
            Stored { key: message.key.map(<[u8]>::to_vec), value: message.value.to_vec(), timestamp: message.timestamp }
        });
        self.topic.borrow_mut().partitions[partition as usize].extend(stored);
        self.outstanding -= group.len();
        if self.behaviour.lose_group == Some(number) {
            return;
        }
        if self.behaviour.report_twice == Some(number) {
            let copy = group.select(0..group.len());
            let twice = Delivered { partition, acknowledged: passed.len(), group: copy, refused: refused.clone() };
            self.again.push_back(twice);
        }
        let lost = usize::from(self.behaviour.lose_record == Some(number));
        done.push(Delivered { partition, acknowledged: passed.len() - lost, group, refused });
    }
}

impl Sink for MemorySink {
    fn partitions(&self) -> u32 {
        self.topic.borrow().partitions.len() as u32
    }

    fn limits(&self) -> SinkLimits {
        self.behaviour.limits
    }

    fn hand_over(&mut self, partition: u32, group: Group) -> Result<(), Failure> {
        let mut topic = self.topic.borrow_mut();
        topic.two_in_flight |= self.in_flight.iter().any(|other| other.partition == partition);
        self.outstanding += group.len();
        self.in_flight.push(InFlight { number: topic.groups.len(), partition, group });
        topic.groups.push(self.in_flight.last().map_or(0, |last| last.group.len()));
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, done: &mut Vec<Delivered>) -> Result<(), Failure> {
        if let Some((after, failure)) = &self.behaviour.fail
            && self.topic.borrow().groups.len() > *after
        {
            return Err(failure.clone());
        }
        if *self.behaviour.mute.borrow() {
            return Ok(());
        }
        done.extend(self.again.pop_front());
        // Some of them: reports of letters come in no order with those of records.
        let served = self.below(self.letters.len() as u64 + 1) as usize;
        for letter in self.letters.drain(..served) {
            let mut topic = self.topic.borrow_mut();
            if let Some((number, failure)) = &self.behaviour.fail_letter
                && topic.letters.len() == *number
            {
                return Err(failure.clone());
            }
            topic.letters.push(letter);
        }
        let waited = timeout > Duration::ZERO;
        let slow = self.behaviour.slow;
        let mut index = 0;
        while index < self.in_flight.len() {
            let served = match slow == Some(self.in_flight[index].partition) {
                true => waited && self.in_flight.len() == 1,
                false => self.below(self.behaviour.patience) == 0,
            };
            if served {
                let flying = self.in_flight.swap_remove(index);
                self.report(flying, done);
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.outstanding + self.letters.len()
    }

    fn set_aside(&mut self, letter: OutgoingLetter) -> Result<(), Failure> {
        self.letters.push_back(letter);
        let mut topic = self.topic.borrow_mut();
        topic.most_letter_bytes = topic.most_letter_bytes.max(self.letters_in_flight().bytes);
        Ok(())
    }

    fn letters_in_flight(&self) -> LettersInFlight {
        let bytes = self.letters.iter().map(OutgoingLetter::bytes).sum();
        LettersInFlight { count: self.letters.len(), bytes }
    }

    fn leader(&self, partition: u32) -> Option<i32> {
        Some(partition as i32 + 100)
    }

    fn deliveries(&self) -> Option<(u64, u64)> {
        (self.topic.borrow().partitions.iter().any(|stored| !stored.is_empty())).then_some((1, 2))
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        self.topic.borrow_mut().finished = true;
        Ok(())
    }
}
